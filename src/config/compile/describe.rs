//! `image_fallback`: the chain that describes images for targets that cannot see. It exists, sees by itself, has the tags
//! that the one requires, and whoever may call the one may call the other.

use std::sync::Arc;

use bytes::Bytes;

use super::super::diagnostic::{Diagnostic, Located};
use super::super::file;
use super::super::name::ChainName;
use super::{Chains, Compiler};
use crate::chat::{ChatRequest, Request};
use crate::config::file::ImageFallback;
use crate::routing::describe::{Describe, MAX_TOKENS, PROMPT};
use crate::routing::{Chain, Target};

/// The most that `max_tokens` of a description may be.
const MOST_TOKENS: u32 = 16_384;
/// A request that takes eyes.
const PICTURE: &[u8] = br#"{"model":"x","messages":[{"role":"user","content":[{"type":"image_url",
    "image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]}]}"#;

impl Compiler<'_> {
    /// Gives the chains those that describe images for them. Before they get their last chains: those of a describing
    /// one are not walked.
    pub(super) fn describers(&mut self, chains: &mut Chains) {
        let file = self.file;
        for (name, chain) in &file.chains.0 {
            self.hold_to_describe(chain);
            let Some(written) = describes(chain) else { continue };
            let to = &written.chain;
            if !file.chains.0.contains_key(&to.value) {
                self.refuse_dangling(to);
                continue;
            }
            if self.refuse_blind_way(name, to) {
                continue;
            }
            self.hold_to_scopes(chains, name, to, "describe images for it");
            if let Some(seeing) = chains.get(to.value.0.as_str()).cloned()
                && let Some(chain) = chains.get_mut(name.0.as_str())
            {
                self.hold_to_require(chain, &seeing, to);
                self.hold_to_sight(&seeing, to);
                Arc::make_mut(chain).describe = Some(Arc::new(Describe {
                    chain: seeing,
                    prompt: written
                        .prompt
                        .as_ref()
                        .map_or_else(|| PROMPT.to_owned(), |prompt| prompt.value.clone()),
                    max_tokens: written.max_tokens.as_ref().map_or(MAX_TOKENS, |most| most.get()),
                    known: Arc::clone(&self.runtime.descriptions),
                }));
            }
        }
    }

    /// What is to be described needs somebody who does, in so many words and no more.
    fn hold_to_describe(&mut self, chain: &Located<file::Chain>) {
        if let Some(fallback) = &chain.image_fallback
            && fallback.value == ImageFallback::Describe
            && chain.describe.is_none()
            && self.is_unwritten(&format!("{}.describe", chain.at.path))
        {
            let problem = Diagnostic::error(&fallback.at, "nothing says which chain describes the images");
            self.report(problem.help("describe = { chain = \"...\" }   # a chain with targets that can see"));
        }
        let written = chain.describe.as_ref().and_then(|written| written.value.max_tokens.as_ref());
        if let Some(most) = written.filter(|most| most.get() > MOST_TOKENS) {
            let message = format!("a description of {} tokens is no description", most.get());
            self.report(Diagnostic::error(&most.at, message).label(format!("{MOST_TOKENS} at most")));
        }
    }

    /// Whoever describes must see by itself.
    fn refuse_blind_way(&mut self, name: &ChainName, to: &Located<ChainName>) -> bool {
        let seeing = &to.value;
        if seeing == name {
            let message = format!("`{}` cannot describe images for itself", name.0);
            self.report(
                Diagnostic::error(&to.at, message).help("name another chain, of targets that can see"),
            );
            return true;
        }
        let next = self.file.chains.0.get(seeing).and_then(|chain| describes(chain));
        let Some(next) = next else { return false };
        let message = format!(
            "`{}` must see by itself, and has images described by `{}`",
            seeing.0, next.chain.value.0
        );
        let help = format!("name `{}` here, or a chain without `describe`", next.chain.value.0);
        self.report(Diagnostic::error(&to.at, message).help(help));
        true
    }

    /// At least one target of the chain takes images.
    fn hold_to_sight(&mut self, seeing: &Chain, at: &Located<ChainName>) {
        let Ok(picture) = ChatRequest::parse(Bytes::from_static(PICTURE)) else { return };
        let picture = Request::Chat(Arc::new(picture));
        let is_open = |target: &&Target| target.terms.as_ref().is_none_or(|terms| terms.lacks.is_none());
        if seeing.deployments().filter(is_open).any(|target| target.fitness.lacks(&picture).is_none()) {
            return;
        }
        let message = format!("no target of the chain `{}` can see", seeing.name);
        let help = match seeing.targets.first() {
            Some(first) => {
                format!("if one can after all: [models.\"{}\"] capabilities = {{ vision = true }}", first.id)
            }
            None => String::from("name a chain of targets that can"),
        };
        self.report(Diagnostic::error(&at.at, message).help(help));
    }
}

/// How the chain has images described, if it does.
fn describes(chain: &file::Chain) -> Option<&file::Describe> {
    let fallback = chain.image_fallback.as_ref().map_or(ImageFallback::Describe, |fallback| fallback.value);
    let written = chain.describe.as_ref()?;
    (fallback == ImageFallback::Describe).then_some(&written.value)
}
