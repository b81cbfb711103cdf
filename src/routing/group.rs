//! Equal deployments behind one place of a chain: the same model at several addresses, or under several keys. Which of
//! them is asked is a matter of weight and load, not of rank.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::StreamExt;
use smallvec::SmallVec;

use super::chain::Target;
use super::health::TargetHealth;
use crate::chat::ChatStream;
use crate::reason::{Class, Cure};

/// How requests are spread over a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Balance {
    /// As weighted, but never to one that is busier for its weight than another would be with this request.
    #[default]
    LeastLoaded,
    /// As weighted, whatever runs where.
    Weighted,
}

impl Balance {
    /// The word of the configuration.
    pub const fn code(self) -> &'static str {
        match self {
            Self::LeastLoaded => "least_loaded",
            Self::Weighted => "weighted",
        }
    }
}

/// The deployments of one target. Each is a target of its own, with its own circuit and credential; all have the
/// group's place in the chain.
#[derive(Debug)]
pub struct Group {
    pub balance: Balance,
    members: Vec<Member>,
}

/// One deployment.
#[derive(Debug)]
pub struct Member {
    pub target: Arc<Target>,
    /// Its share of the requests, over the sum of all weights.
    pub weight: u64,
    /// What it is owed: it grows by its weight with each draw, and falls by all weights together when it is drawn.
    turn: AtomicI64,
}

/// How busy a deployment is at one moment.
struct Busy {
    load: u128,
    weight: u128,
}

/// What else could be asked instead of the deployment that a call goes to: where that cures a failure, the same one is
/// not asked again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stead {
    /// The same place under another key.
    pub other_key: bool,
    pub other_place: bool,
}

/// Counts as load as long as it lives.
pub struct Load(Arc<TargetHealth>);

impl Group {
    /// A group of these deployments and their weights, of which there is at least one.
    pub fn new(balance: Balance, members: impl IntoIterator<Item = (Arc<Target>, u64)>) -> Self {
        let members = members.into_iter();
        let members = members.map(|(target, weight)| Member { target, weight, turn: AtomicI64::new(0) });
        Self { balance, members: members.collect() }
    }

    /// The share of the requests that a deployment gets where all are equally busy.
    #[expect(clippy::cast_precision_loss, reason = "a share for people to read")]
    pub fn share(&self, member: &Member) -> f64 {
        let all: u64 = self.members.iter().map(|member| member.weight).sum();
        member.weight as f64 / all.max(1) as f64
    }

    /// The same to three digits.
    pub fn rounded_share(&self, member: &Member) -> f64 {
        (self.share(member) * 1000.0).round() / 1000.0
    }

    /// All deployments, in the order of the file.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Draws one of the deployments at these places.
    pub fn draw(&self, open: &[usize]) -> Option<usize> {
        // Each is read once: if they changed meanwhile, every one could seem busier than some other.
        let busy: SmallVec<[Busy; 8]> = open.iter().map(|at| self.members[*at].busy()).collect();
        let may = |one: &Busy| match self.balance {
            Balance::LeastLoaded => busy.iter().all(|other| !one.is_busier_than(other)),
            Balance::Weighted => true,
        };
        // Each is owed its share, and who is owed most is drawn: so the shares come interleaved, not in blocks.
        let (mut drawn, mut all) = (None, 0);
        let may_be_drawn = open.iter().zip(&busy).filter(|(_, busy)| may(busy));
        for at in may_be_drawn.map(|(at, _)| *at) {
            let Member { weight, turn, .. } = &self.members[at];
            let weight = i64::try_from(*weight).unwrap_or(i64::MAX);
            let owed = turn.fetch_add(weight, Ordering::Relaxed) + weight;
            all += weight;
            if drawn.is_none_or(|(_, most)| owed > most) {
                drawn = Some((at, owed));
            }
        }
        let (at, _) = drawn?;
        self.members[at].turn.fetch_sub(all, Ordering::Relaxed);
        Some(at)
    }
}

impl Busy {
    /// Whether it is, for its weight, as busy as the other would be with one more request.
    fn is_busier_than(&self, other: &Self) -> bool {
        self.load * other.weight >= (other.load + 1) * self.weight
    }
}

impl Member {
    fn busy(&self) -> Busy {
        let load = self.target.health.load.load(Ordering::Relaxed);
        Busy { load: load.into(), weight: self.weight.into() }
    }

    /// What else than this deployment could be asked, where these are left.
    pub fn stead<'a>(&self, left: impl IntoIterator<Item = &'a Self>) -> Stead {
        let mut stead = Stead::default();
        for other in left {
            if other.is_elsewhere(self) {
                stead.other_place = true;
            } else {
                stead.other_key = true;
            }
        }
        stead
    }

    /// Whether it is another deployment, and not the same one under another key.
    pub fn is_elsewhere(&self, than: &Self) -> bool {
        self.target.id != than.target.id
    }
}

impl Stead {
    /// Whether there is something else to ask after a failure of this class.
    pub const fn cures(self, class: Class) -> bool {
        match class.cure() {
            Cure::OtherKey => self.other_key || self.other_place,
            Cure::OtherPlace => self.other_place,
            Cure::None => false,
        }
    }
}

impl Load {
    /// Counts one more call of this deployment.
    pub fn on(target: &Target) -> Self {
        let health = Arc::clone(&target.health);
        health.load.fetch_add(1, Ordering::Relaxed);
        Self(health)
    }

    /// Counts until the answer has ended, or nobody reads it any more.
    pub fn during(self, stream: ChatStream) -> ChatStream {
        stream.map_events(|events| {
            let mut load = Some(self);
            events
                .chain(futures_util::stream::poll_fn(move |_| {
                    drop(load.take());
                    std::task::Poll::Ready(None)
                }))
                .boxed()
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Load")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;
    use crate::layers::scripted::{Rung, Stand, shared};

    fn group(balance: Balance, weights: &[u64]) -> Arc<Group> {
        let rungs: Vec<Rung> = weights.iter().map(|weight| Rung::new(&weight.to_string(), [])).collect();
        let members: Vec<(&Rung, u64)> = rungs.iter().zip(weights.iter().copied()).collect();
        let chain = shared(&Stand::of(1), balance, &members, &[]);
        Arc::clone(chain.targets[0].group.as_ref().unwrap())
    }

    fn drawn(group: &Group, open: &[usize], times: usize) -> Vec<usize> {
        let mut counts = vec![0; group.members().len()];
        (0..times).for_each(|_| counts[group.draw(open).unwrap()] += 1);
        counts
    }

    #[test]
    fn one_after_the_other_goes_exactly_as_weighted() {
        for balance in [Balance::LeastLoaded, Balance::Weighted] {
            let group = group(balance, &[3, 1]);
            assert_eq!(drawn(&group, &[0, 1], 400), [300, 100]);
            assert_eq!((group.draw(&[1]), group.draw(&[])), (Some(1), None));
        }
        let order: Vec<_> =
            (0..4).scan(group(Balance::Weighted, &[2, 2]), |group, _| group.draw(&[0, 1])).collect();
        assert_eq!(order, [0, 1, 0, 1], "interleaved");
    }

    #[test]
    fn one_that_was_out_owes_and_is_owed_nothing() {
        let group = group(Balance::Weighted, &[1, 1, 1]);
        assert_eq!(drawn(&group, &[0, 2], 100), [50, 0, 50]);
        assert_eq!(drawn(&group, &[0, 1, 2], 300), [100, 100, 100]);
    }

    #[test]
    fn many_at_once_fill_it_as_weighted_and_leave_the_busy_alone() {
        let group = group(Balance::LeastLoaded, &[3, 1]);
        let load = |at: usize| Load::on(&group.members()[at].target);
        let mut running: Vec<(usize, Load)> = Vec::new();
        for _ in 0..40 {
            let at = group.draw(&[0, 1]).unwrap();
            running.push((at, load(at)));
        }
        let count = |running: &[(usize, Load)]| running.iter().filter(|(at, _)| *at == 0).count();
        assert_eq!(count(&running), 30);
        // The first one's calls end, the other's hang: all that comes goes where there is room.
        running.retain(|(at, _)| *at == 1);
        for _ in 0..27 {
            assert_eq!(group.draw(&[0, 1]), Some(0));
            running.push((0, load(0)));
        }
        drop(running);
        assert_eq!(group.members()[0].target.health.load.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn some_deployment_is_drawn_however_their_loads_change_meanwhile() {
        let group = group(Balance::LeastLoaded, &[1, 1]);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    group.members().iter().for_each(|member| drop(Load::on(&member.target)));
                }
            });
            let missed = (0..200_000).filter(|_| group.draw(&[0, 1]).is_none()).count();
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(missed, 0);
        });
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_steady_stream_of_equal_calls_the_shares_are_as_weighted() {
        for (at_once, weights) in [(2, [3, 1]), (5, [3, 1]), (16, [3, 1]), (7, [1, 1]), (3, [1, 4])] {
            let group = group(Balance::LeastLoaded, &weights);
            let counts: Arc<[AtomicI64; 2]> = Arc::default();
            let clients = (0..at_once).map(|client| {
                let (group, counts) = (Arc::clone(&group), Arc::clone(&counts));
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(client)).await;
                    for _ in 0..200 {
                        let at = group.draw(&[0, 1]).unwrap();
                        let load = Load::on(&group.members()[at].target);
                        counts[at].fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        drop(load);
                    }
                })
            });
            for client in clients.collect::<Vec<_>>() {
                client.await.unwrap();
            }
            let all = i64::try_from(at_once * 200).unwrap();
            let expected =
                all * i64::try_from(weights[0]).unwrap() / i64::try_from(weights[0] + weights[1]).unwrap();
            let first = counts[0].load(Ordering::Relaxed);
            assert!((first - expected).abs() <= all / 10, "{at_once} at once, {weights:?}: {first} of {all}");
        }
    }
}
