//! Token counts: Gemini counts thoughts beside the candidates, and the results of server-side tools beside the
//! prompt; OpenAI counts them in.

use super::wire::{ModalityCount, UsageMetadata};
use crate::chat::Usage;
use crate::units::Tokens;

/// Takes over what `later` says; a count that it leaves out keeps what was said before.
pub fn merge(usage: &mut UsageMetadata, later: UsageMetadata) {
    fn take<T>(place: &mut Option<T>, later: Option<T>) {
        if later.is_some() {
            *place = later;
        }
    }
    take(&mut usage.prompt_token_count, later.prompt_token_count);
    take(&mut usage.cached_content_token_count, later.cached_content_token_count);
    take(&mut usage.candidates_token_count, later.candidates_token_count);
    take(&mut usage.thoughts_token_count, later.thoughts_token_count);
    take(&mut usage.tool_use_prompt_token_count, later.tool_use_prompt_token_count);
    take(&mut usage.prompt_tokens_details, later.prompt_tokens_details);
    take(&mut usage.candidates_tokens_details, later.candidates_tokens_details);
}

/// The counts in OpenAI's accounting; `None` if nothing was counted at all.
pub fn canonical(usage: &UsageMetadata) -> Option<Usage> {
    let counts = [
        usage.prompt_token_count,
        usage.candidates_token_count,
        usage.thoughts_token_count,
        usage.tool_use_prompt_token_count,
    ];
    counts.iter().any(Option::is_some).then(|| {
        let [prompt, candidates, thoughts, tools] =
            counts.map(|count| Tokens::new(count.unwrap_or_default()));
        Usage {
            prompt: prompt + tools,
            completion: candidates + thoughts,
            cached: Tokens::new(usage.cached_content_token_count.unwrap_or_default()),
            reasoning: thoughts,
            audio_input: audio(usage.prompt_tokens_details.as_deref()),
            audio_output: audio(usage.candidates_tokens_details.as_deref()),
            ..Usage::default()
        }
    })
}

fn audio(details: Option<&[ModalityCount]>) -> Tokens {
    let counts = details.unwrap_or_default().iter().filter(|count| count.is_audio);
    counts.map(|count| Tokens::new(count.token_count.unwrap_or_default())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> UsageMetadata {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn thoughts_and_tools_are_counted_in() {
        let usage = canonical(&read(
            r#"{"promptTokenCount":100,"cachedContentTokenCount":40,"candidatesTokenCount":7,"thoughtsTokenCount":50,
                "toolUsePromptTokenCount":5,"totalTokenCount":162,
                "promptTokensDetails":[{"modality":"TEXT","tokenCount":80},{"modality":"AUDIO","tokenCount":20}],
                "candidatesTokensDetails":[{"modality":4,"tokenCount":3}]}"#,
        ));
        let tokens = Tokens::new;
        let expected = Usage {
            prompt: tokens(105),
            completion: tokens(57),
            cached: tokens(40),
            reasoning: tokens(50),
            audio_input: tokens(20),
            audio_output: tokens(3),
            ..Usage::default()
        };
        assert_eq!(usage, Some(expected));
        assert_eq!(expected.total(), tokens(162));
    }

    #[test]
    fn the_last_count_wins_and_a_missing_one_keeps_the_last() {
        let mut usage = read(r#"{"promptTokenCount":95,"candidatesTokenCount":21,"thoughtsTokenCount":35}"#);
        merge(&mut usage, read(r#"{"promptTokenCount":206,"thoughtsTokenCount":83,"trafficType":1}"#));
        let usage = canonical(&usage).unwrap();
        assert_eq!((usage.prompt.get(), usage.completion.get()), (206, 104));
    }

    #[test]
    fn counting_nothing_is_no_usage() {
        assert_eq!(canonical(&read(r#"{"trafficType":"ON_DEMAND"}"#)), None);
    }
}
