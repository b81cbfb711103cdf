//! What a simulated model does wrong, and the words by which a model's name says so.
//!
//! [`GRAMMAR`] is the whole grammar; [`help`] prints it. A name is read like this:
//!
//! - `status-503`, `slow-2s-cut`: a name that begins with a word of the grammar consists of such words, joined
//!   by dashes. What follows and is none of them is an error.
//! - `mock-status-503`, `gpt-4o-mock-slow-2s`, `mock-small-drip-50ms`: after `mock-` a label may come first; the
//!   words begin with the first one that the grammar knows.
//! - `gpt-4o`, `mock-small`: any other name is a healthy model.

use std::str::FromStr;
use std::time::Duration;

/// What goes wrong, when, and how often. The default is a healthy model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fault {
    pub outcome: Outcome,
    /// Before the first token; in front of an error, before its head.
    pub slow: Option<Duration>,
    /// Before every piece of content.
    pub drip: Option<Duration>,
    /// The hint that goes with an error status.
    pub retry_after: Option<Duration>,
    /// The fault holds for so many requests of the model, and then it is well. `None`: for good.
    pub flaky: Option<u64>,
    /// The answer's text has so many words.
    pub words: Option<usize>,
    /// Half of the prompt counts as read from a cache.
    pub cached: bool,
    /// Reasoning comes whether asked for or not.
    pub reasoning: bool,
}

/// How an answer ends. The words of the grammar say what each does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outcome {
    #[default]
    Answer,
    Status(u16),
    Overloaded,
    Quota,
    Auth,
    NotFound,
    ContextLength,
    ContentFilter,
    Refusal,
    Empty,
    Hang,
    HangBody,
    Stall(At),
    Cut(At),
    EndEarly(At),
    NoDone,
    ErrorInStream(At),
    Malformed,
    Garbage,
    Reset,
}

/// A place in the content of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Where the word is used without a number.
    Usual,
    /// After so many pieces of content. In a JSON answer: 0 is before the body, any other inside it.
    After(usize),
}

/// One word of the grammar, with its argument.
#[derive(Debug)]
pub struct Word {
    pub keyword: &'static str,
    kind: Kind,
    pub meaning: &'static str,
}

/// Why a text is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    #[error("a fault needs at least one word, such as status-503")]
    Nothing,
    #[error("`{0}` is not a word of the fault grammar{did_you_mean}", did_you_mean = did_you_mean(.0))]
    UnknownWord(String),
    #[error("`{keyword}` needs an argument: {keyword}-{argument}")]
    MissingArgument { keyword: &'static str, argument: &'static str },
    #[error("`{given}` is no {argument} for `{keyword}`: {expected}")]
    BadArgument { keyword: &'static str, argument: &'static str, given: String, expected: &'static str },
    #[error("`{0}` is given twice")]
    Twice(&'static str),
    #[error("`{0}` and `{1}` exclude each other: both say how the answer ends")]
    Conflict(&'static str, &'static str),
}

#[derive(Debug)]
enum Kind {
    Ends(Outcome),
    EndsAt(fn(At) -> Outcome),
    Status,
    Time(fn(&mut Fault) -> &mut Option<Duration>),
    RetryAfter,
    Times,
    Words,
    Flag(fn(&mut Fault) -> &mut bool),
}

const fn word(keyword: &'static str, kind: Kind, meaning: &'static str) -> Word {
    Word { keyword, kind, meaning }
}

/// Every word of the grammar, in the order of the help text.
pub const GRAMMAR: &[Word] = &[
    word("ok", Kind::Ends(Outcome::Answer), "a well-formed answer, as from any name without a fault"),
    word("status", Kind::Status, "an error of this HTTP status in the provider's own envelope"),
    word(
        "overloaded",
        Kind::Ends(Outcome::Overloaded),
        "529 overloaded_error from Anthropic, 503 from the others",
    ),
    word("quota", Kind::Ends(Outcome::Quota), "out of money: an error that no retry mends"),
    word("auth", Kind::Ends(Outcome::Auth), "the key is refused"),
    word("not-found", Kind::Ends(Outcome::NotFound), "404: no such model"),
    word(
        "context-length",
        Kind::Ends(Outcome::ContextLength),
        "400: the prompt is too long, in the provider's words",
    ),
    word("content-filter", Kind::Ends(Outcome::ContentFilter), "stopped by the provider's safety system"),
    word("refusal", Kind::Ends(Outcome::Refusal), "200: the model declines to answer"),
    word("empty", Kind::Ends(Outcome::Empty), "200: no content, and a finish as if all were well"),
    word("hang", Kind::Ends(Outcome::Hang), "the request is read and never answered"),
    word("hang-body", Kind::Ends(Outcome::HangBody), "a head with 200, then silence"),
    word("stall", Kind::EndsAt(Outcome::Stall), "half of the content (or N pieces), then silence"),
    word(
        "cut",
        Kind::EndsAt(Outcome::Cut),
        "half of the content (or N pieces), then the connection is closed",
    ),
    word(
        "end-early",
        Kind::EndsAt(Outcome::EndEarly),
        "half of the content (or N pieces), then a clean end of the body",
    ),
    word("no-done", Kind::Ends(Outcome::NoDone), "a stream without its terminator"),
    word(
        "error-in-stream",
        Kind::EndsAt(Outcome::ErrorInStream),
        "200, and an error at once (or after N pieces)",
    ),
    word(
        "malformed",
        Kind::Ends(Outcome::Malformed),
        "one event of the stream, or the JSON body, is not JSON",
    ),
    word("garbage", Kind::Ends(Outcome::Garbage), "200 with a page of HTML"),
    word("reset", Kind::Ends(Outcome::Reset), "a TCP reset instead of a head"),
    word("slow", Kind::Time(|fault| &mut fault.slow), "wait this long before the first token"),
    word("drip", Kind::Time(|fault| &mut fault.drip), "wait this long before every piece of content"),
    word("retry-after", Kind::RetryAfter, "the hint that goes with an error status"),
    word("flaky", Kind::Times, "the fault holds for N requests of this model, and then it is well"),
    word("words", Kind::Words, "the text of the answer has N words"),
    word("cached", Kind::Flag(|fault| &mut fault.cached), "half of the prompt counts as read from a cache"),
    word("reasoning", Kind::Flag(|fault| &mut fault.reasoning), "reasons without being asked to"),
];

/// The grammar as text for `--help`: how names are read, then one word a line.
pub fn help() -> String {
    let forms: Vec<_> = GRAMMAR.iter().map(Word::form).collect();
    let width = forms.iter().map(String::len).max().unwrap_or_default();
    let lines = forms.iter().zip(GRAMMAR).map(|(form, word)| format!("  {form:width$}  {}\n", word.meaning));
    lines.fold(INTRODUCTION.to_owned(), |text, line| text + &line)
}

const INTRODUCTION: &str = "\
The model's name says what goes wrong: the words below, joined by dashes, as the whole name or somewhere after
`mock-`. Only one word may say how the answer ends; the others go with it. Any other name is a healthy model.

  gpt-4o                             healthy
  status-503                         always 503
  gpt-4o-mock-slow-2s-cut            first token after two seconds, then cut in the middle
  flaky-2-status-429-retry-after-1   rate limited twice, then well

TIME is such as 500ms, 1.5s or 2m.

";

impl Fault {
    /// What the model's name says of its behaviour; a healthy model where it says nothing.
    pub fn of_model(name: &str) -> Result<Self, GrammarError> {
        let words: Vec<_> = name.split('-').collect();
        // `vendor/mock-cut`: a path may stand before it.
        let marked = words.iter().rposition(|word| word.rsplit(['/', ':']).next() == Some("mock"));
        let start = match marked {
            Some(mark) => (mark + 1..words.len()).find(|&at| keyword_at(&words[at..]).is_some()),
            None => keyword_at(&words).map(|_| 0),
        };
        start.map_or(Ok(Self::default()), |start| parse(&words[start..]))
    }
}

impl FromStr for Fault {
    type Err = GrammarError;

    /// Reads words joined by dashes: `slow-500ms-status-503`.
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        if text.is_empty() {
            return Err(GrammarError::Nothing);
        }
        parse(&text.split('-').collect::<Vec<_>>())
    }
}

impl Word {
    /// The word with the name of its argument, as the help text shows it.
    pub fn form(&self) -> String {
        match self.kind {
            Kind::EndsAt(_) => format!("{}[-{}]", self.keyword, self.argument()),
            _ if self.argument().is_empty() => self.keyword.to_owned(),
            _ => format!("{}-{}", self.keyword, self.argument()),
        }
    }

    fn argument(&self) -> &'static str {
        match self.kind {
            Kind::Ends(_) | Kind::Flag(_) => "",
            Kind::EndsAt(_) | Kind::Times | Kind::Words => "N",
            Kind::Status => "CODE",
            Kind::Time(_) => "TIME",
            Kind::RetryAfter => "SECONDS",
        }
    }

    /// Applies the word, taking its argument from the front of `rest`.
    fn apply(&self, fault: &mut Fault, rest: &mut &[&str]) -> Result<(), GrammarError> {
        match self.kind {
            Kind::Ends(outcome) => fault.outcome = outcome,
            Kind::EndsAt(outcome) => {
                let count = rest.first().and_then(|word| word.parse().ok());
                if count.is_some() {
                    *rest = &rest[1..];
                }
                fault.outcome = outcome(count.map_or(At::Usual, At::After));
            }
            Kind::Status => {
                let status = |text: &str| text.parse().ok().filter(|status| (400..600).contains(status));
                fault.outcome = Outcome::Status(self.take(rest, "400 to 599", status)?);
            }
            Kind::Time(field) => {
                *field(fault) = Some(self.take(rest, "such as 500ms, 1.5s or 2m", duration)?);
            }
            Kind::RetryAfter => {
                let seconds =
                    |text: &str| text.parse().ok().map(Duration::from_secs).or_else(|| duration(text));
                fault.retry_after = Some(self.take(rest, "such as 2 or 1500ms", seconds)?);
            }
            Kind::Times => fault.flaky = Some(self.take(rest, "a whole number", |text| text.parse().ok())?),
            Kind::Words => fault.words = Some(self.take(rest, "a whole number", |text| text.parse().ok())?),
            Kind::Flag(field) => *field(fault) = true,
        }
        Ok(())
    }

    fn take<T>(
        &self,
        rest: &mut &[&str],
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, GrammarError> {
        let (keyword, argument) = (self.keyword, self.argument());
        let Some((given, after)) = rest.split_first() else {
            return Err(GrammarError::MissingArgument { keyword, argument });
        };
        *rest = after;
        let given = (*given).to_owned();
        read(&given).ok_or(GrammarError::BadArgument { keyword, argument, given, expected })
    }

    /// Whether the word says how the answer ends; there can be only one such.
    fn ends(&self) -> bool {
        match self.kind {
            Kind::Ends(_) | Kind::EndsAt(_) | Kind::Status => true,
            Kind::Time(_) | Kind::RetryAfter | Kind::Times | Kind::Words | Kind::Flag(_) => false,
        }
    }
}

fn parse(mut words: &[&str]) -> Result<Fault, GrammarError> {
    let mut fault = Fault::default();
    let mut seen: Vec<&Word> = Vec::new();
    while !words.is_empty() {
        let Some(word) = keyword_at(words) else {
            return Err(GrammarError::UnknownWord(words[0].to_owned()));
        };
        if seen.iter().any(|before| before.keyword == word.keyword) {
            return Err(GrammarError::Twice(word.keyword));
        }
        if let Some(before) = seen.iter().find(|before| before.ends() && word.ends()) {
            return Err(GrammarError::Conflict(before.keyword, word.keyword));
        }
        words = &words[word.keyword.split('-').count()..];
        word.apply(&mut fault, &mut words)?;
        seen.push(word);
    }
    Ok(fault)
}

/// The longest keyword that these words begin with.
fn keyword_at(words: &[&str]) -> Option<&'static Word> {
    GRAMMAR
        .iter()
        .filter(|word| word.keyword.split('-').enumerate().all(|(at, part)| words.get(at) == Some(&part)))
        .max_by_key(|word| word.keyword.len())
}

/// A whole or decimal number with `ms`, `s` or `m`.
fn duration(text: &str) -> Option<Duration> {
    let (number, seconds) = if let Some(number) = text.strip_suffix("ms") {
        (number, 0.001)
    } else if let Some(number) = text.strip_suffix('s') {
        (number, 1.0)
    } else {
        (text.strip_suffix('m')?, 60.0)
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

fn did_you_mean(given: &str) -> String {
    GRAMMAR
        .iter()
        .map(|word| (strsim::osa_distance(word.keyword, given), word.keyword))
        .min()
        .filter(|(distance, _)| *distance <= 2)
        .map_or_else(String::new, |(_, keyword)| format!("; did you mean `{keyword}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_help_text_is_understood() {
        for word in GRAMMAR {
            let form = word.form();
            let sample = form
                .replace("[-N]", "-3")
                .replace("-CODE", "-503")
                .replace("-SECONDS", "-2")
                .replace("-TIME", "-20ms")
                .replace("-N", "-3");
            let fault: Fault = sample.parse().unwrap();
            assert_eq!(fault == Fault::default(), word.keyword == "ok", "{sample}");
            assert_eq!(Fault::of_model(&format!("mock-{sample}")).unwrap(), fault);
            assert!(help().contains(&form) && help().contains(word.meaning));
        }
    }

    #[test]
    fn words_compose() {
        let fault: Fault = "flaky-2-slow-1.5s-status-429-retry-after-2".parse().unwrap();
        let expected = Fault {
            outcome: Outcome::Status(429),
            slow: Some(Duration::from_millis(1500)),
            retry_after: Some(Duration::from_secs(2)),
            flaky: Some(2),
            ..Fault::default()
        };
        assert_eq!(fault, expected);
        let fault: Fault = "drip-50ms-cut-words-30-reasoning-cached".parse().unwrap();
        assert_eq!(fault.outcome, Outcome::Cut(At::Usual));
        assert_eq!((fault.words, fault.reasoning, fault.cached), (Some(30), true, true));
        assert_eq!("cut-0".parse(), Ok(Fault { outcome: Outcome::Cut(At::After(0)), ..Fault::default() }));
        assert_eq!("hang-body".parse(), Ok(Fault { outcome: Outcome::HangBody, ..Fault::default() }));
        assert_eq!(
            "retry-after-1500ms".parse::<Fault>().unwrap().retry_after,
            Some(Duration::from_millis(1500))
        );
    }

    #[test]
    fn a_models_name_may_carry_a_fault() {
        let outcome = |name: &str| Fault::of_model(name).unwrap().outcome;
        for healthy in ["gpt-4o", "claude-sonnet-4-5", "mock-small", "mock", "", "gpt-4o-status-503", "o3"] {
            assert_eq!(Fault::of_model(healthy), Ok(Fault::default()), "{healthy}");
        }
        for broken in
            ["status-503", "mock-status-503", "gpt-4o-mock-status-503", "vendor/mock-big-status-503"]
        {
            assert_eq!(outcome(broken), Outcome::Status(503), "{broken}");
        }
        assert_eq!(outcome("mock-gpt-4o-hang-body-slow-10ms"), Outcome::HangBody);
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let message = |text: &str| text.parse::<Fault>().unwrap_err().to_string();
        assert_eq!(message(""), "a fault needs at least one word, such as status-503");
        assert_eq!(
            message("ok-statsu-503"),
            "`statsu` is not a word of the fault grammar; did you mean `status`?"
        );
        assert_eq!(message("wobble"), "`wobble` is not a word of the fault grammar");
        assert_eq!(message("status"), "`status` needs an argument: status-CODE");
        assert_eq!(message("status-200"), "`200` is no CODE for `status`: 400 to 599");
        assert_eq!(message("slow-5"), "`5` is no TIME for `slow`: such as 500ms, 1.5s or 2m");
        assert_eq!(message("slow-1s-slow-2s"), "`slow` is given twice");
        assert_eq!(
            message("cut-3-hang"),
            "`cut` and `hang` exclude each other: both say how the answer ends"
        );
        assert!(Fault::of_model("mock-status-503-oops").is_err());
        assert!(Fault::of_model("status-oops").is_err());
    }
}
