//! What a simulated model answers: always the same to the same request.

use serde_json::{Value, json};

use super::fault::{Fault, Outcome};
use super::prompt::{Format, Prompt, Tool, ToolChoice};
use super::schema;

/// An answer before it takes a dialect's form. Text comes in pieces of one token each.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub reasoning: Vec<String>,
    pub text: Vec<String>,
    pub calls: Vec<Call>,
    pub finish: Finish,
    pub usage: Usage,
}

/// One tool call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub name: String,
    pub arguments: Value,
}

/// Why the answer ends where it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    Stop,
    StopSequence(String),
    Length,
    /// With calls; `named` if the request forced one function by its name.
    Calls {
        named: bool,
    },
    Refusal,
    ContentFilter,
}

/// Token counts of one choice: `prompt` includes `cached`, `completion` includes `reasoning`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub prompt: usize,
    pub cached: usize,
    pub completion: usize,
    pub reasoning: usize,
}

/// What a refusing model says.
pub const REFUSAL: &str = "I can't help with that.";

/// What every image counts for, whatever its size.
const IMAGE_TOKENS: usize = 250;
/// What the frame of each turn counts for.
const TURN_TOKENS: usize = 4;
/// A long word is several tokens.
const PIECE_BYTES: usize = 12;
const MAX_QUOTE: usize = 120;

/// Places that the model knows: it looks up the weather of those which the user names.
const CITIES: [&str; 16] = [
    "Paris",
    "London",
    "Berlin",
    "Tokyo",
    "Rome",
    "Madrid",
    "Vienna",
    "Oslo",
    "Zurich",
    "Boston",
    "Chicago",
    "Sydney",
    "New York",
    "San Francisco",
    "Florence",
    "Bern",
];
const PLACE_PROPERTIES: [&str; 5] = ["city", "location", "place", "town", "address"];
const FILLER: [&str; 8] = ["rope", "anchor", "ledge", "ridge", "summit", "valley", "stone", "cloud"];

/// Answers as the model of the mock of this name.
pub fn compose(prompt: &Prompt, fault: &Fault, mock: &str) -> Answer {
    let reasoning = if prompt.reasoning || fault.reasoning {
        pieces("The last message is clear. A short answer will do.")
    } else {
        Vec::new()
    };
    let mut answer = Answer {
        reasoning,
        text: Vec::new(),
        calls: Vec::new(),
        finish: Finish::Stop,
        usage: Usage::default(),
    };
    match fault.outcome {
        Outcome::Empty => answer.reasoning.clear(),
        Outcome::ContentFilter => {
            answer.reasoning.clear();
            answer.finish = Finish::ContentFilter;
        }
        Outcome::Refusal => {
            answer.text = pieces(REFUSAL);
            answer.finish = Finish::Refusal;
        }
        _ => {
            answer.calls = calls(prompt);
            if answer.calls.is_empty() {
                answer.text = pieces(&text(prompt, fault, mock));
                stop_at_sequence(&mut answer, &prompt.stop);
            } else {
                answer.finish = Finish::Calls { named: matches!(prompt.tool_choice, ToolChoice::Named(_)) };
            }
        }
    }
    limit(&mut answer, prompt.max_tokens);
    answer.usage = usage(prompt, fault, &answer);
    answer
}

/// How many tokens the prompt counts for: four bytes are one.
pub fn prompt_tokens(prompt: &Prompt) -> usize {
    prompt.text_bytes.div_ceil(4) + prompt.turns * TURN_TOKENS + prompt.images * IMAGE_TOKENS
}

/// The text in pieces of one token each: words with the space before them, long ones cut.
pub fn pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for character in text.chars() {
        let new_word = character.is_whitespace() && !piece.trim_start().is_empty();
        if new_word || piece.len() >= PIECE_BYTES {
            pieces.push(std::mem::take(&mut piece));
        }
        piece.push(character);
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

impl Answer {
    /// The text as one.
    pub fn full_text(&self) -> String {
        self.text.concat()
    }

    /// The reasoning as one.
    pub fn full_reasoning(&self) -> String {
        self.reasoning.concat()
    }
}

impl Call {
    /// The arguments as JSON text, in pieces as they come in a stream.
    pub fn pieces(&self) -> Vec<String> {
        pieces(&self.arguments.to_string())
    }
}

fn text(prompt: &Prompt, fault: &Fault, mock: &str) -> String {
    let plain = match fault.words {
        Some(count) => FILLER.into_iter().cycle().take(count).collect::<Vec<_>>().join(" "),
        None => greeting(prompt, mock),
    };
    match &prompt.format {
        Format::Text => plain,
        Format::JsonObject => json!({ "answer": plain }).to_string(),
        Format::Schema(schema) => schema::instance(schema, &schema::no_hints).to_string(),
    }
}

fn greeting(prompt: &Prompt, mock: &str) -> String {
    let model = &prompt.model;
    if !prompt.tool_results.is_empty() {
        let results: Vec<_> = prompt.tool_results.iter().map(|result| quote(result)).collect();
        return format!("This is {model}, simulated by {mock}. The tools said: {}.", results.join(" and "));
    }
    let mut seen = vec![plural(prompt.turns, "turn")];
    if prompt.images > 0 {
        seen.push(plural(prompt.images, "image"));
    }
    if !prompt.tools.is_empty() {
        seen.push(plural(prompt.tools.len(), "tool"));
    }
    let (seen, said) = (seen.join(", "), quote(&prompt.last_user));
    format!("This is {model}, simulated by {mock}. I see {seen}. You said: {said}.")
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn quote(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTE) {
        Some((end, _)) => format!("\"{}...\"", &text[..end]),
        None => format!("\"{text}\""),
    }
}

/// The calls that the request forces, or that its last user turn asks for.
fn calls(prompt: &Prompt) -> Vec<Call> {
    if !prompt.tool_results.is_empty() || prompt.tool_choice == ToolChoice::None {
        return Vec::new();
    }
    let said = prompt.last_user.to_lowercase();
    let about_weather = said.contains("weather");
    let mut chosen: Vec<&Tool> = match &prompt.tool_choice {
        ToolChoice::Named(name) => prompt.tools.iter().filter(|tool| tool.name == *name).collect(),
        _ => prompt.tools.iter().filter(|tool| names(&said, tool)).collect(),
    };
    if chosen.is_empty() && (prompt.tool_choice == ToolChoice::Required || about_weather) {
        let fits = |tool: &&Tool| about_weather && tool.name.to_lowercase().contains("weather");
        chosen.extend(prompt.tools.iter().find(fits).or(prompt.tools.first()));
    }
    let places = places(&prompt.last_user);
    let calls = match chosen[..] {
        // One tool, asked about several places.
        [tool] if places.len() > 1 => places.iter().map(|place| call(tool, place)).collect(),
        [tool] if said.contains("parallel") => vec![call(tool, "Paris"), call(tool, "London")],
        _ => chosen.iter().map(|tool| call(tool, places.first().unwrap_or(&"Paris"))).collect::<Vec<_>>(),
    };
    calls.into_iter().take(if prompt.parallel { usize::MAX } else { 1 }).collect()
}

/// Whether the text names the tool, with its own dashes or with spaces instead.
fn names(said: &str, tool: &Tool) -> bool {
    let name = tool.name.to_lowercase();
    said.contains(&name) || said.contains(&name.replace(['_', '-', '.'], " "))
}

/// The known places in the text, in its order.
fn places(text: &str) -> Vec<&'static str> {
    let mut found: Vec<_> = CITIES.iter().filter_map(|city| text.find(city).map(|at| (at, *city))).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, city)| city).collect()
}

fn call(tool: &Tool, place: &str) -> Call {
    let hints = |property: &str| {
        let property = property.to_lowercase();
        PLACE_PROPERTIES.iter().any(|known| property.contains(known)).then(|| place.to_owned())
    };
    let arguments = match schema::instance(&tool.schema, &hints) {
        arguments @ Value::Object(_) => arguments,
        _ => json!({}),
    };
    Call { name: tool.name.clone(), arguments }
}

/// Ends the text before the first stop sequence in it.
fn stop_at_sequence(answer: &mut Answer, stop: &[String]) {
    let text = answer.full_text();
    let first =
        stop.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| Some((text.find(stop)?, stop))).min();
    if let Some((end, sequence)) = first {
        answer.text = pieces(&text[..end]);
        answer.finish = Finish::StopSequence(sequence.clone());
    }
}

/// Keeps the first tokens only: reasoning, then text; calls fit whole or not at all.
fn limit(answer: &mut Answer, max_tokens: Option<usize>) {
    let Some(max) = max_tokens else { return };
    let calls: usize = answer.calls.iter().map(call_tokens).sum();
    if answer.reasoning.len() + answer.text.len() + calls <= max {
        return;
    }
    answer.reasoning.truncate(max);
    answer.text.truncate(max - answer.reasoning.len());
    answer.calls.clear();
    answer.finish = Finish::Length;
}

fn call_tokens(call: &Call) -> usize {
    call.name.len().div_ceil(4) + call.pieces().len()
}

fn usage(prompt: &Prompt, fault: &Fault, answer: &Answer) -> Usage {
    let reasoning = answer.reasoning.len();
    let prompt_tokens = prompt_tokens(prompt);
    Usage {
        prompt: prompt_tokens,
        cached: if prompt.cached || fault.cached { prompt_tokens / 2 } else { 0 },
        completion: reasoning + answer.text.len() + answer.calls.iter().map(call_tokens).sum::<usize>(),
        reasoning,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(said: &str) -> Prompt {
        Prompt {
            model: "m".to_owned(),
            last_user: said.to_owned(),
            turns: 1,
            parallel: true,
            ..Prompt::default()
        }
    }

    fn weather() -> Tool {
        let schema = json!({
            "type": "object",
            "properties": { "city": { "type": "string" }, "unit": { "enum": ["c", "f"] } },
            "required": ["unit"],
        });
        Tool { name: "get_weather".to_owned(), schema }
    }

    fn answer(prompt: &Prompt) -> Answer {
        compose(prompt, &Fault::default(), "mock")
    }

    fn arguments(prompt: &Prompt) -> Vec<Value> {
        answer(prompt).calls.into_iter().map(|call| call.arguments).collect()
    }

    #[test]
    fn pieces_are_words_and_add_up() {
        assert_eq!(pieces("One, two  three"), ["One,", " two", "  three"]);
        for text in ["", " ", "ünïcödé-wörds-that-are-long\nand short ones", "  lead", "trail  "] {
            assert_eq!(pieces(text).concat(), text);
            assert!(pieces(text).iter().all(|piece| !piece.is_empty()));
        }
    }

    #[test]
    fn the_text_says_who_answers_and_what_it_saw() {
        let asked = Prompt { images: 2, tools: vec![weather()], ..prompt("Hi") };
        let said = answer(&asked).full_text();
        assert_eq!(said, "This is m, simulated by mock. I see 1 turn, 2 images, 1 tool. You said: \"Hi\".");
        let results = Prompt { tool_results: vec!["18 C".to_owned()], ..prompt("What is the weather?") };
        assert!(answer(&results).full_text().ends_with("The tools said: \"18 C\"."));
        let long = answer(&prompt(&"é".repeat(500))).full_text();
        assert!(long.ends_with("é...\"."), "{long}");
        let counted = compose(&prompt("Hi"), &"words-30".parse().unwrap(), "mock");
        assert_eq!((counted.text.len(), counted.usage.completion), (30, 30));
    }

    #[test]
    fn tools_are_called_when_forced_or_asked_for() {
        let tools = vec![Tool { name: "other".to_owned(), schema: json!({}) }, weather()];
        let ask = |said: &str, tool_choice: ToolChoice| {
            let calls = answer(&Prompt { tools: tools.clone(), tool_choice, ..prompt(said) }).calls;
            calls.into_iter().map(|call| call.name).collect::<Vec<_>>()
        };
        assert_eq!(ask("Hi", ToolChoice::Auto), [""; 0]);
        assert_eq!(ask("How is the weather?", ToolChoice::Auto), ["get_weather"]);
        assert_eq!(ask("How is the weather?", ToolChoice::None), [""; 0]);
        assert_eq!(ask("Please get weather and other", ToolChoice::Auto), ["other", "get_weather"]);
        assert_eq!(ask("Hi", ToolChoice::Required), ["other"]);
        assert_eq!(ask("Hi", ToolChoice::Named("get_weather".to_owned())), ["get_weather"]);
    }

    #[test]
    fn several_places_are_several_calls_unless_parallel_ones_are_off() {
        let mut asked = Prompt { tools: vec![weather()], ..prompt("The weather in Rome, please") };
        assert_eq!(arguments(&asked), [json!({ "city": "Rome", "unit": "c" })]);
        asked.last_user = "weather in Tokyo and Paris?".to_owned();
        assert_eq!(arguments(&asked).len(), 2);
        assert_eq!(arguments(&asked)[0]["city"], "Tokyo");
        asked.parallel = false;
        assert_eq!(arguments(&asked).len(), 1);
        asked = Prompt { parallel: true, last_user: "weather, in parallel".to_owned(), ..asked };
        assert_eq!(arguments(&asked)[1]["city"], "London");
        assert_eq!(answer(&asked).finish, Finish::Calls { named: false });
    }

    #[test]
    fn limits_and_stop_sequences_are_honoured() {
        let mut asked = Prompt { max_tokens: Some(3), ..prompt("Hi") };
        let short = answer(&asked);
        assert_eq!((short.full_text().as_str(), short.finish), ("This is m,", Finish::Length));
        asked.reasoning = true;
        let thought = answer(&asked);
        assert_eq!((thought.text.len(), thought.usage.completion, thought.usage.reasoning), (0, 3, 3));
        asked = Prompt { stop: vec!["by".to_owned(), "is m".to_owned(), String::new()], ..prompt("Hi") };
        let stopped = answer(&asked);
        assert_eq!(stopped.full_text(), "This ");
        assert_eq!(stopped.finish, Finish::StopSequence("is m".to_owned()));
        asked = Prompt { tools: vec![weather()], max_tokens: Some(2), ..prompt("weather") };
        assert_eq!((answer(&asked).calls, answer(&asked).finish), (Vec::new(), Finish::Length));
    }

    #[test]
    fn structured_answers_hold_to_their_schema() {
        let schema =
            json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
        let asked = Prompt { format: Format::Schema(schema), ..prompt("Hi") };
        assert_eq!(answer(&asked).full_text(), r#"{"n":1}"#);
        let asked = Prompt { format: Format::JsonObject, ..prompt("Hi") };
        let object: Value = serde_json::from_str(&answer(&asked).full_text()).unwrap();
        assert!(object["answer"].is_string());
    }

    #[test]
    fn tokens_are_counted() {
        let asked = Prompt { text_bytes: 41, images: 1, cached: true, ..prompt("Hi") };
        let usage = answer(&asked).usage;
        assert_eq!((usage.prompt, usage.cached), (11 + 4 + 250, 132));
        for outcome in [Outcome::Empty, Outcome::ContentFilter] {
            let nothing = compose(&asked, &Fault { outcome, ..Fault::default() }, "mock");
            assert_eq!((nothing.usage.completion, nothing.text.len()), (0, 0));
        }
        assert_eq!(
            compose(&asked, &Fault { outcome: Outcome::Refusal, ..Fault::default() }, "mock").full_text(),
            REFUSAL
        );
    }
}
