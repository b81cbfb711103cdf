//! What the demo shows: plain text, at most [`WIDTH`] columns, in colour where a person looks on.

use std::io::{self, Write};
use std::path::Path;

use serde_json::Value;

use super::client::Reply;
use super::scenes::{SCENES, Scene};
use super::stage::{CHAINS, Stage};

const WIDTH: usize = 100;
/// Where the facts of a scene begin.
const INDENT: usize = 17;
/// Columns of a target's name.
const TARGET: usize = 30;
/// Columns of what became of it.
const FATE: usize = 24;

/// Writes the demo's text.
pub struct Report<W> {
    out: W,
    colour: bool,
}

/// A scene's line in the last table.
pub struct Row([String; 5]);

#[derive(Clone, Copy)]
enum Style {
    Bold,
    Faint,
    Good,
    Bad,
}

impl Row {
    /// What came of this scene.
    pub fn of(number: usize, scene: &Scene, reply: &Reply) -> Self {
        let served = reply.header("x-piton-target").map(str::to_owned);
        Self([
            format!("{number} {}", scene.title),
            served.unwrap_or_else(|| format!("nobody: {}", reply.status)),
            reply.header("x-piton-attempts").unwrap_or("?").to_owned(),
            reply.header("x-piton-fallback-reason").unwrap_or("-").to_owned(),
            usd(reply.cost()),
        ])
    }
}

impl<W: Write> Report<W> {
    /// A report to this writer.
    pub fn new(out: W, colour: bool) -> Self {
        Self { out, colour }
    }

    /// What is about to be seen.
    pub fn introduction(&mut self, stage: &Stage) -> io::Result<()> {
        let title = self.paint(Style::Bold, "Piton at work");
        writeln!(self.out, "{title}: three simulated providers and a gateway. No key, no network.\n")?;
        writeln!(self.out, "The gateway listens at {}. Its chains:\n", stage.url)?;
        for line in CHAINS.lines() {
            let line = self.paint(Style::Faint, line);
            writeln!(self.out, "{}", format!("    {line}").trim_end())?;
        }
        Ok(())
    }

    /// What is about to be asked, and what is broken.
    pub fn announce(&mut self, number: usize, scene: &Scene) -> io::Result<()> {
        let title = self.paint(Style::Bold, scene.title);
        writeln!(self.out, "\n{number}/{}  {title}\n", SCENES.len())?;
        let form = match (scene.has_picture, scene.streamed) {
            (true, _) => ", with a picture",
            (false, true) => ", as a stream",
            (false, false) => "",
        };
        self.fact("asked", &format!("{}: \"{}\"{form}", scene.chain, scene.question))?;
        self.fact("broken", scene.broken)?;
        self.fact("promised", scene.promise)?;
        self.out.flush()
    }

    /// What happened, and whether it was as promised.
    pub fn outcome(&mut self, reply: &Reply, surprises: &[String]) -> io::Result<()> {
        self.trail(&reply.receipt["trail"])?;
        self.fact("served by", reply.header("x-piton-target").unwrap_or("nobody"))?;
        if let Some(reason) = reply.header("x-piton-fallback-reason") {
            self.fact("fallback", &format!("because of {reason}"))?;
        }
        let first = reply.first_content.map(|time| format!(", first token after {} ms", time.as_millis()));
        self.fact("time", &format!("{} ms{}", reply.took.as_millis(), first.unwrap_or_default()))?;
        self.fact("cost", &format!("${}", usd(reply.cost())))?;
        match &reply.error {
            Some(error) => self.error(reply.status, error)?,
            None => self.fact("reply", &beginning(&reply.text))?,
        }
        if surprises.is_empty() {
            let good = self.paint(Style::Good, "as promised");
            return self
                .line("checked", &format!("{good}: headers, body, receipt, and what each provider counted"));
        }
        let bad = self.paint(Style::Bad, "not as promised");
        self.line("checked", &bad)?;
        for surprise in surprises {
            self.fact("", surprise)?;
        }
        Ok(())
    }

    /// All scenes in a line each.
    pub fn table(&mut self, rows: &[Row]) -> io::Result<()> {
        const HEAD: [&str; 5] = ["scene", "served by", "attempts", "fallback reason", "cost USD"];
        let width = |column: usize| {
            let cells = rows.iter().map(|Row(cells)| cells[column].len());
            cells.chain([HEAD[column].len()]).max().unwrap_or_default()
        };
        let widths: [usize; 5] = std::array::from_fn(width);
        let print = |cells: [&str; 5]| {
            let [scene, served, attempts, reason, cost] = cells;
            let [first, second, third, fourth, last] = widths;
            format!("{scene:first$}  {served:second$}  {attempts:>third$}  {reason:fourth$}  {cost:>last$}")
        };
        let head = self.paint(Style::Bold, &print(HEAD));
        writeln!(self.out, "\n{head}")?;
        for Row(cells) in rows {
            writeln!(self.out, "{}", print(cells.each_ref().map(String::as_str)))?;
        }
        self.out.flush()
    }

    /// What a reader may try now.
    pub fn invitation(&mut self, stage: &Stage, log: Option<&Path>, broken: &str) -> io::Result<()> {
        let url = &stage.url;
        let title = self.paint(Style::Bold, "Now you.");
        writeln!(self.out, "\n{title} The gateway stays up at {url} until you press ctrl-c.")?;
        writeln!(
            self.out,
            "From here on {broken} answers 503: soon its circuit opens, and it is not even asked."
        )?;
        writeln!(self.out, "Its file is {}", stage.config.display())?;
        if let Some(log) = log {
            writeln!(self.out, "Its log is  {}", log.display())?;
        }
        let chat = |options: &str, body: &str| {
            format!(
                "curl {options} {url}/v1/chat/completions -H 'content-type: application/json' \\\n  {body}"
            )
        };
        let message = r#""messages":[{"role":"user","content":"Hello"}]"#;
        let ask = format!("-H 'x-request-id: hello' \\\n  -d '{{\"model\":\"primary-chat\",{message}}}'");
        let stream = format!("-d '{{\"model\":\"primary-chat\",\"stream\":true,{message}}}'");
        let direct = format!("-d '{{\"model\":\"openai/mock-slow-2s-empty\",{message}}}'");
        for (what, command) in [
            ("An answer, and the headers that say whose it is and why:", chat("-i", &ask)),
            ("Its receipt:", format!("curl {url}/piton/api/requests/hello")),
            ("The same as a stream:", chat("-iN", &stream)),
            ("Every chain, target and circuit:", format!("curl {url}/piton/api/status")),
            ("What a monitoring system sees:", format!("curl {url}/metrics")),
            ("Any fault by its name (`piton mock --help` has them all):", chat("-i", &direct)),
        ] {
            let what = self.paint(Style::Faint, &format!("# {what}"));
            writeln!(self.out, "\n{what}\n{command}")?;
        }
        self.out.flush()
    }

    /// Every target of the walk, from the receipt.
    fn trail(&mut self, trail: &Value) -> io::Result<()> {
        let mut label = "trail";
        for entry in trail.as_array().into_iter().flatten() {
            let target = entry["target"].as_str().unwrap_or_default();
            let (fate, style, detail) = match (entry["skip"].as_str(), entry["outcome"].as_str()) {
                (Some(skip), _) => {
                    let estimate = usd(entry["estimate"]["cost_usd"].as_f64());
                    (format!("skip:{skip}"), Style::Faint, format!("no call, estimate ${estimate}"))
                }
                (None, outcome) => {
                    let outcome = outcome.unwrap_or_default();
                    let style = if outcome == "ok" { Style::Good } else { Style::Bad };
                    let status = entry["status"].as_u64().map(|status| format!("status {status}, "));
                    let time = entry["latency_ms"].as_u64().unwrap_or_default();
                    (outcome.to_owned(), style, format!("{}{time} ms", status.unwrap_or_default()))
                }
            };
            let fate = self.paint(style, &format!("{fate:FATE$}"));
            self.line(label, &format!("{target:TARGET$}{fate}{detail}"))?;
            label = "";
        }
        Ok(())
    }

    /// The whole error object.
    fn error(&mut self, status: u16, error: &Value) -> io::Result<()> {
        self.fact("reply", &format!("status {status}"))?;
        let text = serde_json::to_string_pretty(error).unwrap_or_default();
        for line in text.lines() {
            let inner = line.trim_start();
            let depth = line.len() - inner.len();
            for (at, part) in wrap(inner, WIDTH - INDENT - depth - 2).iter().enumerate() {
                let hanging = depth + if at == 0 { 0 } else { 2 };
                self.line("", &format!("{}{part}", " ".repeat(hanging)))?;
            }
        }
        Ok(())
    }

    /// A label and a text, in as many lines as it takes.
    fn fact(&mut self, label: &str, text: &str) -> io::Result<()> {
        for (at, line) in wrap(text, WIDTH - INDENT).iter().enumerate() {
            self.line(if at == 0 { label } else { "" }, line)?;
        }
        Ok(())
    }

    fn line(&mut self, label: &str, text: &str) -> io::Result<()> {
        let column = INDENT - 5;
        let label = self.paint(Style::Faint, &format!("{label:column$}"));
        writeln!(self.out, "     {label}{}", text.trim_end())
    }

    fn paint(&self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Bold => 1,
            Style::Faint => 2,
            Style::Good => 32,
            Style::Bad => 31,
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Seven decimal places: a short answer of a cheap model costs a few of the last.
fn usd(cost: Option<f64>) -> String {
    cost.map_or_else(|| "?".to_owned(), |cost| format!("{cost:.7}"))
}

/// As much of a reply as one line holds.
fn beginning(text: &str) -> String {
    match text.char_indices().nth(WIDTH - INDENT) {
        None => text.to_owned(),
        Some(_) => text.chars().take(WIDTH - INDENT - 3).chain("...".chars()).collect(),
    }
}

/// Lines of at most `width` characters, broken between words; a longer word has a line to itself.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let fits = |line: &String| line.chars().count() + 1 + word.chars().count() <= width;
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if fits(line) => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words() {
        assert_eq!(wrap("a piton is placed", 9), ["a piton", "is placed"]);
        assert_eq!(wrap("a https://example.org b", 5), ["a", "https://example.org", "b"]);
        assert_eq!(wrap("", 5), [""]);
    }

    #[test]
    fn a_long_reply_is_shown_by_its_beginning() {
        assert_eq!(beginning("short"), "short");
        let shown = beginning(&"é".repeat(200));
        assert_eq!((shown.chars().count(), shown.ends_with("...")), (WIDTH - INDENT, true));
    }

    #[test]
    fn colour_is_only_where_it_is_wanted() {
        let painted = |colour| {
            let mut out = Vec::new();
            let mut report = Report::new(&mut out, colour);
            report.announce(1, &SCENES[0]).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert!(painted(true).contains("\x1b[1mThe primary serves\x1b[0m"));
        assert!(!painted(false).contains('\x1b'));
    }
}
