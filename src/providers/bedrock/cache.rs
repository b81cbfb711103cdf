//! The points up to which a request is cached: how many of them the API takes.

use super::wire::{Block, Request, SystemBlock, Tool};

/// So many points the API takes.
const MOST: usize = 4;

/// Takes out the points that are too many; whether there were such. Those of tools and of the system prompt stay,
/// and of those in the messages the last: they reach furthest.
pub fn limit(request: &mut Request<'_>) -> bool {
    let mut left = MOST;
    let mut has_dropped = false;
    let mut fits = |is_point: bool| {
        let fits = !is_point || left > 0;
        left -= usize::from(is_point && fits);
        has_dropped |= !fits;
        fits
    };
    if let Some(config) = &mut request.tool_config {
        config.tools.retain(|tool| fits(matches!(tool, Tool::CachePoint(_))));
    }
    request.system.retain(|block| fits(matches!(block, SystemBlock::CachePoint(_))));
    for turn in request.messages.iter_mut().rev() {
        turn.content.reverse();
        turn.content.retain(|block| fits(matches!(block, Block::CachePoint(_))));
        turn.content.reverse();
    }
    has_dropped
}
