//! For whom and when a target serves: its tags against what its chain requires, its tasks, tiers and hours.

use std::collections::HashMap;

use super::super::diagnostic::{Diagnostic, Located, Location};
use super::super::file::{self, TimeWindow};
use super::super::name::{Glob, Tag};
use super::super::time::{DayHours, DayRange, ZoneName};
use super::Compiler;
use crate::clock::window::{Days, Schedule, Window, Zone};
use crate::reason::Word;
use crate::routing::terms::{Names, Terms};

/// Tags as the file has them: absent, or a list.
pub type Tags = Option<Located<Vec<Located<Tag>>>>;

/// What one target says of itself.
#[derive(Default)]
pub struct OwnTerms {
    pub tags: Vec<Word>,
    pub terms: Terms,
}

/// The words of a list of tags.
pub fn words(tags: &Tags) -> impl Iterator<Item = Word> {
    tags.iter().flat_map(|tags| &tags.value).map(|tag| tag.value.0)
}

/// Each of these words once.
pub fn union(words: impl Iterator<Item = Word>) -> Vec<Word> {
    let mut union = Vec::new();
    for word in words {
        if !union.contains(&word) {
            union.push(word);
        }
    }
    union
}

/// The first tag that is required and not there.
pub fn lacking(require: &[Word], tags: &[Word]) -> Option<Word> {
    require.iter().find(|tag| !tags.contains(tag)).copied()
}

impl Compiler<'_> {
    /// The tags of the file's models by their full name.
    pub(super) fn model_tags(&self) -> HashMap<String, Vec<Word>> {
        let models = self.file.models.0.iter().filter(|(_, model)| model.tags.is_some());
        models.map(|(name, model)| (name.to_string(), words(&model.tags).collect())).collect()
    }

    /// What the target says of itself.
    pub(super) fn terms(&mut self, target: &file::Target) -> OwnTerms {
        let windows = target.when.as_ref().map(|when| {
            let windows = when.0.iter().filter_map(|window| {
                let TimeWindow { hours, days, tz } = &window.value;
                self.window(&window.at, hours.as_ref(), days.as_ref(), tz.as_ref())
            });
            Schedule(windows.collect())
        });
        let names = |globs: &Located<Vec<Located<Glob>>>| {
            Names(globs.iter().map(|glob| glob.value.matcher().clone()).collect())
        };
        OwnTerms {
            tags: words(&target.tags).collect(),
            terms: Terms {
                lacks: None,
                tasks: target.tasks.as_ref().map(names),
                tiers: target.tiers.as_ref().map(names),
                when: windows,
            },
        }
    }

    /// Hours of the week; an error where nothing of it is said.
    pub(super) fn window(
        &mut self,
        at: &Location,
        hours: Option<&Located<DayHours>>,
        days: Option<&Located<Vec<Located<DayRange>>>>,
        zone: Option<&Located<ZoneName>>,
    ) -> Option<Window> {
        if hours.is_none() && days.is_none_or(|days| days.is_empty()) {
            if self.is_unwritten(&at.path) {
                let problem = Diagnostic::error(at, "a window needs `hours` or `days`");
                self.report(problem.help("for example { hours = \"09:00-18:00\", days = [\"mon-fri\"] }"));
            }
            return None;
        }
        Some(Window {
            hours: hours.map(|hours| hours.0),
            days: days.map_or(Days::ALL, |days| DayRange::joined(days.iter().map(|range| &range.value))),
            zone: zone.map_or(Zone::UTC, |zone| zone.0.clone()),
        })
    }
}
