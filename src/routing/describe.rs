//! Images in words: a chain that can see describes them, so that a target that cannot may answer all the same.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout_at};

use super::attempt::{Aside, Described, Entry, Origin, Sight, Trail};
use super::chain::Chain;
use super::descriptions::{Descriptions, Found, Key};
use super::explain::View;
use super::plan::{Plan, Wishes, plan};
use super::run::{Errand, Exhausted};
use super::step::Step;
use crate::chat::{ChatRequest, ChatStream, Event, Request};
use crate::reason::Skip;
use crate::units::Cost;

/// How a chain has images described.
#[derive(Debug, Clone)]
pub struct Describe {
    /// The chain that sees.
    pub chain: Arc<Chain>,
    /// What it is asked about each image.
    pub prompt: String,
    /// The most tokens that one description may have.
    pub max_tokens: u32,
    pub known: Arc<Descriptions>,
}

/// What it is asked where the owner says nothing else.
pub const PROMPT: &str = "Describe this image for someone who cannot see it and has to answer questions about it. \
     Give all text in it word for word, then what it shows: objects, people, numbers, colours, and where things are. \
     Say nothing else.";
/// Tokens of one description.
pub const MAX_TOKENS: u32 = 1000;

/// Each image is a call of its own: a request with more has none of them described.
const MOST_IMAGES: usize = 64;
/// Images of one request that are described at the same time.
const AT_ONCE: usize = 4;
/// How long descriptions usually are, in tokens: what a target is judged by before there are any.
const USUAL_TOKENS: u32 = 250;
/// More than any text has: tokens have 4 or 5 bytes on average.
const MOST_BYTES_PER_TOKEN: usize = 16;
/// How much of a hash is shown, in bytes.
const SHOWN: usize = 8;

/// One request's images in words, for those targets that cannot see.
#[derive(Debug)]
pub struct Words {
    rule: Arc<Describe>,
    /// The request as it would be; `None` where it cannot be.
    imagined: OnceLock<Option<Request>>,
    had: OnceLock<Result<Request, Arc<Undescribed>>>,
}

/// Why an image was not described.
#[derive(Debug)]
pub struct Undescribed {
    /// The chain that was to do so.
    pub chain: Arc<str>,
    /// What happened there, if no target of it answered; else it answered without a word.
    pub exhausted: Option<(Vec<Entry>, Exhausted)>,
}

/// What describing a request's images would come to.
#[derive(Debug)]
pub struct Outlook {
    /// The chain that would do so.
    pub chain: Arc<str>,
    pub images: usize,
    /// Of them: those whose words are known.
    pub known: usize,
    /// For all others; `None` where a price is not known.
    pub cost: Option<Cost>,
    /// Why it would fail.
    pub undescribed: Option<Arc<Undescribed>>,
}

/// One image on its way into words.
struct Image {
    url: String,
    /// Of its URL or its bytes, as far as it is shown.
    hash: Arc<str>,
    /// `None` where what stands behind the URL may be another image tomorrow.
    key: Option<Key>,
}

/// An image, its words, and where they came from.
type Seen = (Image, Result<(Arc<str>, Sight), Arc<Undescribed>>);

impl Words {
    /// For a request of this chain; `None` where there is nothing to describe, or nobody to do so.
    pub fn of(chain: &Chain, request: &Request) -> Option<Arc<Self>> {
        let rule = chain.describe.as_ref().filter(|_| !request.size().images.is_empty())?;
        Some(Arc::new(Self { rule: Arc::clone(rule), imagined: OnceLock::new(), had: OnceLock::new() }))
    }

    /// Judges a target that cannot see by the request in words.
    pub fn judge<'a>(
        &'a self,
        request: &Request,
        blind: Step<'a>,
        judge: impl Fn(&'a Request) -> Step<'a>,
    ) -> Step<'a> {
        match self.had.get() {
            Some(Ok(described)) => Step { in_words: true, ..judge(described) },
            Some(Err(_)) => Step { skip: Some(Skip::Undescribed), ..blind },
            None => match self.imagined(request) {
                Some(imagined) => Step { in_words: true, awaits_words: true, ..judge(imagined) },
                None => blind,
            },
        }
    }

    /// Why there are none.
    pub fn undescribed(&self) -> Option<&Arc<Undescribed>> {
        self.had.get()?.as_ref().err()
    }

    /// Has all images described, once. Boxed: the chain that does so is walked like any other.
    pub fn have<'a>(&'a self, request: &'a ChatRequest, errand: Errand) -> BoxFuture<'a, ()> {
        async move {
            let began = Instant::now();
            let had = self.rule.put_into_words(request, &errand).await;
            errand.trail.add_wait(began.elapsed());
            self.had.get_or_init(|| had);
        }
        .boxed()
    }

    /// What it would come to now.
    pub fn outlook(&self, request: &ChatRequest, wishes: &Wishes, view: &View<'_>) -> Outlook {
        let rule = &self.rule;
        let images = rule.images(request);
        let mut outlook = Outlook {
            chain: Arc::clone(&rule.chain.name),
            images: images.len(),
            known: 0,
            cost: Some(Cost::ZERO),
            undescribed: None,
        };
        for image in images {
            if image.key.is_some_and(|key| rule.known.get(&key).is_some()) {
                outlook.known += 1;
                continue;
            }
            let Some(plan) = rule.plan(&image, wishes) else { continue };
            let look = plan.explain(View { first_eligible: None, ..*view });
            if let Some(first) = look.first {
                let step = plan.step(first.place);
                outlook.cost = outlook.cost.zip(step.estimate.cost).map(|(sum, cost)| sum + cost);
            } else if outlook.undescribed.is_none() {
                let trail = Trail::default();
                look.pass_over(&trail);
                let entries = trail.read(<[Entry]>::to_vec);
                let exhausted = Exhausted { over_budget: look.refused, ..Exhausted::default() };
                let exhausted = Some((entries, exhausted));
                outlook.undescribed =
                    Some(Arc::new(Undescribed { chain: Arc::clone(&rule.chain.name), exhausted }));
            }
        }
        outlook
    }

    fn imagined(&self, request: &Request) -> Option<&Request> {
        let imagine = || {
            let Request::Chat(request) = request else { return None };
            let images = request.images();
            if images.len() > MOST_IMAGES {
                return None;
            }
            let bytes = 4 * self.rule.max_tokens.min(USUAL_TOKENS);
            let filler = "x".repeat(bytes.try_into().unwrap_or_default());
            let words = images.into_iter().map(|image| (image, filler.clone())).collect();
            request.with_words(&words).ok().map(|request| Request::Chat(Arc::new(request)))
        };
        self.imagined.get_or_init(imagine).as_ref()
    }
}

impl Describe {
    /// The memory that a request takes whose images are described: each goes into a request of its own, and comes out
    /// of the client's.
    pub fn bytes(&self, request: &Request) -> usize {
        let images = request.size().images.len().min(MOST_IMAGES);
        request.body().len().saturating_mul(3).saturating_add(images.saturating_mul(self.longest()))
    }

    /// The most bytes of one description, be it that an upstream does not hold to its cap.
    fn longest(&self) -> usize {
        usize::try_from(self.max_tokens).unwrap_or(usize::MAX).saturating_mul(MOST_BYTES_PER_TOKEN)
    }

    /// The request with words in place of its images; or why one of them could not be described. What is being
    /// described when another fails is waited for: it is paid for, and its words may be asked for again.
    async fn put_into_words(
        &self,
        request: &ChatRequest,
        errand: &Errand,
    ) -> Result<Request, Arc<Undescribed>> {
        // A ceiling must know what one costs before the next is asked for.
        let ceilings = self.chain.deployments().any(|target| target.limits.max_cost.is_some());
        let at_once = if ceilings || errand.wishes.max_cost.is_some() { 1 } else { AT_ONCE };
        let images = self.images(request);
        let count = images.len();
        let mut to_describe = images.into_iter();
        let mut under_way = stream::FuturesUnordered::new();
        let mut seen: Vec<Seen> = Vec::with_capacity(count);
        let mut has_failed = false;
        loop {
            while !has_failed
                && under_way.len() < at_once
                && let Some(image) = to_describe.next()
            {
                under_way.push(self.see(image, errand));
            }
            let Some(next) = under_way.next().await else { break };
            has_failed |= next.1.is_err();
            seen.push(next);
        }
        self.tell(&seen, &errand.trail);
        let mut words = HashMap::with_capacity(count);
        for (image, result) in seen {
            words.insert(image.url, result?.0.to_string());
        }
        let wordless = |_| Arc::new(self.wordless());
        request.with_words(&words).map(|request| Request::Chat(Arc::new(request))).map_err(wordless)
    }

    fn tell(&self, seen: &[Seen], trail: &Trail) {
        let images = seen.iter().map(|(image, result)| {
            let sight = result.as_ref().map_or(Sight::Failed, |(_, sight)| *sight);
            (Arc::clone(&image.hash), sight)
        });
        trail.describe(Described { chain: Arc::clone(&self.chain.name), images: images.collect() });
    }

    /// An image's words: known ones, those that another request is having made, or new ones.
    async fn see(&self, image: Image, errand: &Errand) -> Seen {
        let Some(key) = image.key else {
            let words = self.ask(&image, errand).await;
            return (image, words.map(|words| (words, Sight::Described)));
        };
        let mut turn = None;
        match self.known.find(key) {
            Found::Words(words) => return (image, Ok((words, Sight::Cached))),
            Found::UnderWay(mut over) => {
                // That it is over is all there is to hear.
                let _ = timeout_at(errand.deadline, over.changed()).await;
                if let Some(words) = self.known.get(&key) {
                    return (image, Ok((words, Sight::Cached)));
                }
            }
            Found::Nothing(own) => turn = Some(own),
        }
        let asked = self.ask(&image, errand).await;
        if let Ok(words) = &asked {
            self.known.keep(key, Arc::clone(words));
        }
        drop(turn);
        (image, asked.map(|words| (words, Sight::Described)))
    }

    /// Asks the chain that sees.
    async fn ask(&self, image: &Image, errand: &Errand) -> Result<Arc<str>, Arc<Undescribed>> {
        let aside = Aside { chain: Arc::clone(&self.chain.name), image: Arc::clone(&image.hash) };
        let trail = errand.trail.aside(Arc::new(aside));
        let now = Instant::now();
        let beside = Errand {
            origin: Arc::new(Origin { streamed: false, ..Origin::clone(&errand.origin) }),
            trail: trail.clone(),
            began: now,
            deadline: errand.deadline.min(now + self.chain.policy.deadline),
            wishes: wishes(&errand.wishes),
        };
        let plan = self.plan(image, &errand.wishes).ok_or_else(|| Arc::new(self.wordless()))?;
        match plan.run(&beside).await {
            Ok(won) => match text(won.stream).await {
                Some(text) => Ok(text[..text.floor_char_boundary(self.longest())].into()),
                None => Err(Arc::new(self.wordless())),
            },
            Err(exhausted) => {
                let own = |entry: &&Entry| trail.is_own(entry);
                let entries = trail.read(|entries| entries.iter().filter(own).cloned().collect());
                let chain = Arc::clone(&self.chain.name);
                Err(Arc::new(Undescribed { chain, exhausted: Some((entries, exhausted)) }))
            }
        }
    }

    fn plan(&self, image: &Image, wishes: &Wishes) -> Option<Arc<Plan>> {
        let body = json!({
            "model": &*self.chain.name,
            "max_tokens": self.max_tokens,
            "messages": [{ "role": "user", "content": [
                { "type": "text", "text": &self.prompt },
                { "type": "image_url", "image_url": { "url": &image.url } },
            ] }],
        });
        let request = Request::Chat(Arc::new(ChatRequest::parse(body.to_string().into()).ok()?));
        plan(&self.chain, &request, &self::wishes(wishes)).ok()
    }

    fn wordless(&self) -> Undescribed {
        Undescribed { chain: Arc::clone(&self.chain.name), exhausted: None }
    }

    fn images(&self, request: &ChatRequest) -> Vec<Image> {
        let image = |url: String| {
            let hash = Sha256::digest(&url);
            let is_data = url.starts_with("data:");
            Image { hash: shown(&hash), key: is_data.then(|| self.key(&hash)), url }
        };
        request.images().into_iter().map(image).collect()
    }

    fn key(&self, image: &[u8]) -> Key {
        let mut hash = Sha256::new();
        for part in [self.chain.name.as_bytes(), self.prompt.as_bytes(), image] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.update(self.max_tokens.to_be_bytes());
        hash.finalize().into()
    }
}

/// Whether one target or several may be asked is said of the answer, not of how it comes about.
fn wishes(wishes: &Wishes) -> Wishes {
    Wishes { no_fallback: false, ..wishes.clone() }
}

fn shown(hash: &[u8]) -> Arc<str> {
    let mut text = String::from("sha256:");
    for byte in &hash[..SHOWN] {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}

/// The text of an answer that is not streamed; `None` if it broke or says nothing.
async fn text(mut stream: ChatStream) -> Option<String> {
    let mut text = None;
    while let Some(event) = stream.next().await {
        if let Event::Answer(answer) = event.ok()? {
            text = answer.into_text();
        }
    }
    text.filter(|text| !text.trim().is_empty())
}
