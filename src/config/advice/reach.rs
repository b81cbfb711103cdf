//! What can never be reached: targets above their ceilings, places beyond the last attempt, hours in which nothing stands
//! in, last chains that are not walked, chains that nobody may call.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Gateway, Subject, fitness};
use crate::catalog::{Model, Prices, UsageTokens};
use crate::clock::window::{self, Schedule, Window};
use crate::config::diagnostic::{Diagnostic, Located, Location};
use crate::config::file::{self, File};
use crate::config::name::ChainName;
use crate::reason::Skip;
use crate::routing::Target;
use crate::routing::ceiling::{Estimate, money};
use crate::units::Tokens;

/// Input and output tokens of a small request, of a long question and of a long answer: where all three are too
/// dear, every request is.
const SAMPLES: [(u64, u64); 3] = [(8, 1), (100_000, 1), (8, 100_000)];

impl Subject<'_> {
    pub(super) fn never_affordable(&self, target: &Target, at: &Location) -> Option<Diagnostic> {
        let first = self.chain.targets.first()?;
        let prices = target.model.prices.as_ref()?;
        // What is too dear now may not be at another hour, or against another hour's first target.
        let of_first = first.model.prices.as_ref().map_or_else(
            || vec![first.as_ref().clone()],
            |prices| prices.all().map(|prices| at_price(first, prices)).collect(),
        );
        let mut reason = None;
        for target in prices.all().map(|prices| at_price(target, prices)) {
            for first in &of_first {
                reason = Some(never_within(&target, first)?);
            }
        }
        let message =
            format!("`{}` is never asked: every request is over its ceiling ({})", target.id, reason?);
        let mut help = format!(
            "it costs {} USD per million input tokens and {} per million output tokens",
            prices.input().usd_per_million(),
            prices.output().usd_per_million()
        );
        if prices.are_timed() {
            help.push_str(", and its prices at other hours are too high as well");
        }
        Some(Diagnostic::warning(at, message).help(help))
    }

    pub(super) fn out_of_attempts(&self, index: usize, target: &Target, at: &Location) -> Option<Diagnostic> {
        let most = self.chain.policy.max_attempts;
        let before = self.earlier(index).count();
        let message = format!(
            "`{}` is reached only if targets before it are skipped: `max_attempts` is {most}",
            target.id
        );
        u32::try_from(before).is_ok_and(|before| before >= most).then(|| {
            let targets = self.earlier(self.chain.targets.len()).count();
            Diagnostic::warning(at, message).help(format!("set max_attempts to {targets} or more"))
        })
    }

    /// The deployments of a group that are never called, where others are.
    pub(super) fn shut_out_deployments(&self, index: usize, target: &Target) -> Vec<Diagnostic> {
        let Some(group) = &target.group else { return Vec::new() };
        let models = self.written.targets.0[index].models();
        let shut_out = models.into_iter().filter_map(|(model, _)| {
            let id = model.value.to_string();
            let deployment = group.members().iter().find(|member| *member.target.id == *id)?;
            fitness::shut_out(&deployment.target, &model.at)
        });
        shut_out.collect()
    }

    /// Hours are shared out so that no target ever stands in for another.
    pub(super) fn without_fallback(&self, today: i64) -> Option<Diagnostic> {
        let open = self.chain.targets.iter().filter(|target| target.is_allowed());
        let schedules: Option<Vec<&Schedule>> =
            open.map(|target| target.terms.as_ref()?.when.as_ref()).collect();
        let schedules = schedules.filter(|schedules| schedules.len() > 1 && self.chain.last.is_none())?;
        let meet = |at: SystemTime| schedules.iter().filter(|schedule| schedule.is_open(at)).count() > 1;
        if window::weeks_of_a_year(midnight(today)).any(meet) {
            return None;
        }
        let message = format!(
            "no target of `{}` has a fallback: at no hour of the week do two of them serve",
            self.chain.name
        );
        let help = "let their hours overlap, or name a last chain in `on_exhausted`";
        Some(Diagnostic::warning(&self.written.targets.at, message).help(help))
    }

    /// What the last chain does not do.
    pub(super) fn last_chain(&self, file: &File) -> Vec<Diagnostic> {
        let (Some(written), Some(last)) = (&self.written.on_exhausted, &self.chain.last) else {
            return Vec::new();
        };
        let at = &written.value.chain.at;
        let (name, mut advice) = (&self.chain.name, Vec::new());
        let of_last = file.chains.0.get(&written.value.chain.value);
        if let Some(further) = of_last.and_then(|last| last.on_exhausted.as_ref()) {
            let message = format!(
                "requests of `{name}` end with `{}`: its own last chain, `{}`, is not walked for them",
                last.name, further.value.chain.0
            );
            advice.push(Diagnostic::warning(at, message));
        }
        let own: HashSet<&str> = self.chain.deployments().map(|target| &*target.id).collect();
        if last.deployments().all(|target| own.contains(&*target.id)) {
            let message = format!(
                "`{}` has no target that `{name}` does not have: what has just failed would be asked again",
                last.name
            );
            advice.push(Diagnostic::warning(at, message));
        }
        advice
    }
}

/// Prices in windows that are always covered by those before them.
pub(super) fn lost_prices(file: &File, gateway: &Gateway, today: i64) -> Vec<Diagnostic> {
    let mut advice = Vec::new();
    for (name, model) in &file.models.0 {
        let windows = model.price.as_ref().and_then(|price| price.windows.as_ref());
        let known = gateway.direct.parts().models.get(&name.to_string());
        let (Some(written), Some(Model { prices: Some(prices), .. })) = (windows, known) else { continue };
        let held: Vec<&Window> = prices.windows().map(|(window, _)| window).collect();
        for (at, (window, written)) in held.iter().zip(&written.value).enumerate() {
            let counts = |time: SystemTime| {
                window.holds(time) && !held[..at].iter().any(|earlier| earlier.holds(time))
            };
            if !window::weeks_of_a_year(midnight(today)).any(counts) {
                let message =
                    format!("this price of `{name}` never holds: the windows before it cover {window}");
                let help = "the first window that holds counts";
                advice.push(Diagnostic::warning(&written.at, message).help(help));
            }
        }
    }
    advice
}

/// Chains that no key names, and no other chain leads to.
pub(super) fn uncalled(file: &File) -> Vec<Diagnostic> {
    let chains = &file.chains.0;
    let leads_to = |name: &ChainName| {
        chains.values().any(|chain| {
            let branches = [&chain.by_task, &chain.by_tier].into_iter().flatten();
            let mut led = branches.flat_map(|named| named.value.0.values().map(|to| &to.value));
            let last = chain.on_exhausted.as_ref().map(|last| &last.value.chain.value);
            led.any(|to| to == name) || last == Some(name)
        })
    };
    let may_call = |key: &file::Key, name: &ChainName| {
        key.chains.as_ref().is_none_or(|globs| globs.iter().any(|glob| glob.value.matches(&name.0)))
    };
    let nobody = |name: &ChainName| !file.keys.iter().any(|key| may_call(key, name)) && !leads_to(name);
    let lost = chains.iter().filter(|(name, _)| !file.keys.is_empty() && nobody(name));
    let told = lost.map(|(name, chain): (&ChainName, &Located<file::Chain>)| {
        let message =
            format!("nobody may call the chain `{}`: no key names it, and no chain leads to it", name.0);
        Diagnostic::warning(&chain.at, message)
    });
    told.collect()
}

/// Why every request is over the target's ceilings, if it is.
fn never_within(target: &Target, first: &Target) -> Option<Skip> {
    let prices = target.model.prices.as_ref()?;
    let refusals = SAMPLES.map(|(input, output)| {
        let (input_low, output) = (Tokens::new(input), Tokens::new(output));
        let cost = Some(prices.cost(&UsageTokens::of(input, output.get())));
        let estimate = Estimate { input_low, input_high: input_low, output, cost, price: None };
        money(target, &estimate, first, None).filter(|skip| *skip != Skip::NoPrice)
    });
    let [Some(reason), Some(_), Some(_)] = refusals else { return None };
    Some(reason)
}

/// The target as it is while this price holds.
fn at_price(target: &Target, prices: Prices) -> Target {
    let model = Model { prices: Some(prices), ..target.model.clone() };
    Target { model, ..target.clone() }
}

fn midnight(today: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(24 * u64::try_from(today).unwrap_or_default())
}
