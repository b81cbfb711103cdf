use super::*;

/// Tells the names of the fields that a struct reads.
struct FieldNames;

impl<'de> Deserializer<'de> for FieldNames {
    type Error = de::value::Error;
    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("not a struct"))
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom(fields.join(" ")))
    }
    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[test]
fn every_field_that_is_read_is_listed() {
    let read = Conversation::deserialize(FieldNames).unwrap_err().to_string();
    assert_eq!(read, Conversation::FIELDS.join(" "));
}

#[test]
fn reads_every_part_and_spelling() {
    let body = r#"{"model":"m","messages":[
        {"role":"developer","content":"d"},
        {"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:x"}},{"type":"video"}]},
        {"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":null}}]},
        {"role":"tool","tool_call_id":"1","content":"r"}],
        "tools":[{"type":"function","function":{"name":"f","parameters":{"b":1,"a":2}}}],
        "stop":"x","tool_choice":{"type":"function","function":{"name":"f"}},"logit_bias":{"1":2},"seed":null,
        "reasoning_effort":"xhigh"}"#;
    let conversation: Conversation = serde_json::from_str(body).unwrap();
    assert_eq!(conversation.messages.len(), 4);
    assert_eq!(conversation.stop, ["x"]);
    assert!(matches!(&conversation.tool_choice, Some(ToolChoice::Function(name)) if name == "f"));
    assert_eq!(conversation.openai_only(), ["logit_bias"]);
    let function = conversation.tools[0].function.as_ref().unwrap();
    assert_eq!(function.parameters.as_ref().unwrap().get(), r#"{"b":1,"a":2}"#);
}
