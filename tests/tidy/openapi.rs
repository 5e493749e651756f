//! Holds the schemas of `openapi.json` to the types that the admin surface serialises: the same fields in the same order, of the same
//! types, and a schema for each type.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use syn::{Attribute, Expr, ExprLit, Fields, GenericArgument, Item, Lit, LitStr, PathArguments, Type};

/// Where the types are.
const FILES: [&str; 20] = [
    "src/admin/api.rs",
    "src/admin/catalogue/instance.rs",
    "src/admin/catalogue/model.rs",
    "src/admin/commitment/health.rs",
    "src/admin/commitment/model.rs",
    "src/admin/ended.rs",
    "src/admin/events.rs",
    "src/admin/complaint.rs",
    "src/admin/health.rs",
    "src/admin/model.rs",
    "src/admin/outbox/model.rs",
    "src/admin/outgoing.rs",
    "src/admin/ready.rs",
    "src/admin/sinks/model.rs",
    "src/admin/writers.rs",
    "src/memory/allocator.rs",
    "src/memory/lease.rs",
    "src/memory/pressure.rs",
    "src/memory/snapshot.rs",
    "src/memory/stage.rs",
];
/// Types whose schema has another name.
const RENAMED: [(&str, &str); 3] =
    [("AllocatorStatistics", "Allocator"), ("Level", "Pressure"), ("MemorySnapshot", "Memory")];
/// A type whose schema stands where it is used.
const INLINE: &str = "Location";
/// Schemas without a type: the configuration, whose keys stand in their own reference, and a constant.
const UNTYPED: [&str; 2] = ["Config", "Live"];

/// The types that are serialised, by name.
fn types() -> BTreeMap<String, Item> {
    let mut types = BTreeMap::new();
    for file in FILES {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        for item in syn::parse_file(&text).unwrap().items {
            let (name, attributes) = match &item {
                Item::Struct(found) => (found.ident.to_string(), &found.attrs),
                Item::Enum(found) => (found.ident.to_string(), &found.attrs),
                _ => continue,
            };
            if derives_serialize(attributes) {
                assert!(types.insert(name.clone(), item).is_none(), "two types are called {name}");
            }
        }
    }
    types
}

fn derives_serialize(attributes: &[Attribute]) -> bool {
    let mut found = false;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
        attribute
            .parse_nested_meta(|derived| {
                found |= derived.path.is_ident("Serialize");
                Ok(())
            })
            .unwrap();
    }
    found
}

/// The value of `#[serde(key = "…")]`. An attribute that changes the form otherwise is not known here.
fn serde_text(attributes: &[Attribute], key: &str) -> Option<String> {
    let mut found = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        attribute
            .parse_nested_meta(|meta| {
                if meta.path.is_ident(key) {
                    found = Some(meta.value()?.parse::<LitStr>()?.value());
                } else if let Ok(value) = meta.value() {
                    value.parse::<LitStr>()?;
                } else {
                    // Both are about reading.
                    let reads = ["deny_unknown_fields", "default"].iter().any(|name| meta.path.is_ident(name));
                    assert!(reads, "an attribute of serde that is not known here");
                }
                Ok(())
            })
            .unwrap();
    }
    found
}

fn schema_name(name: &str) -> &str {
    RENAMED.iter().find(|(of_type, _)| *of_type == name).map_or(name, |(_, of_schema)| of_schema)
}

/// The schema of a type, as far as it has a form.
fn schema(item: &Item, types: &BTreeMap<String, Item>) -> Value {
    match item {
        Item::Struct(found) => object(&found.fields, types),
        Item::Enum(found) => {
            let rule = serde_text(&found.attrs, "rename_all");
            let names = found.variants.iter().map(|variant| renamed(&variant.ident.to_string(), rule.as_deref()));
            if found.variants.iter().all(|variant| variant.fields.is_empty()) {
                return json!({"type": "string", "enum": names.collect::<Vec<_>>()});
            }
            let variants = found.variants.iter().zip(names).map(|(variant, name)| match &variant.fields {
                Fields::Unit => json!({"const": name}),
                fields => properties([(name, object(fields, types))]),
            });
            json!({"oneOf": variants.collect::<Vec<_>>()})
        }
        _ => unreachable!("only structs and enums are collected"),
    }
}

fn renamed(variant: &str, rule: Option<&str>) -> String {
    match rule {
        Some("lowercase") => variant.to_lowercase(),
        Some("snake_case") => {
            let mut name = String::new();
            for character in variant.chars() {
                if character.is_uppercase() && !name.is_empty() {
                    name.push('_');
                }
                name.extend(character.to_lowercase());
            }
            name
        }
        other => panic!("names by {other:?} are not known here"),
    }
}

fn object(fields: &Fields, types: &BTreeMap<String, Item>) -> Value {
    properties(fields.iter().map(|field| {
        let name = serde_text(&field.attrs, "rename").unwrap_or_else(|| field.ident.as_ref().unwrap().to_string());
        (name, value(&field.ty, types))
    }))
}

fn properties(of: impl IntoIterator<Item = (String, Value)>) -> Value {
    let (mut required, mut properties) = (Vec::new(), Map::new());
    for (name, schema) in of {
        required.push(name.clone());
        properties.insert(name, schema);
    }
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn value(of: &Type, types: &BTreeMap<String, Item>) -> Value {
    if let Type::Array(array) = of {
        let Expr::Lit(ExprLit { lit: Lit::Int(length), .. }) = &array.len else { panic!("a length that is no number") };
        let length: u64 = length.base10_parse().unwrap();
        return json!({"type": "array", "items": value(&array.elem, types), "minItems": length, "maxItems": length});
    }
    let Type::Path(path) = of else { panic!("only named types are known here") };
    let last = path.path.segments.last().unwrap();
    let inner = || {
        let PathArguments::AngleBracketed(arguments) = &last.arguments else { panic!("{} of nothing", last.ident) };
        let Some(GenericArgument::Type(inner)) = arguments.args.first() else { panic!("{} of no type", last.ident) };
        value(inner, types)
    };
    match last.ident.to_string().as_str() {
        "u64" | "u32" => json!({"type": "integer", "minimum": 0}),
        "i64" => json!({"type": "integer"}),
        "bool" => json!({"type": "boolean"}),
        "String" => json!({"type": "string"}),
        "Option" => json!({"anyOf": [inner(), {"type": "null"}]}),
        "Vec" => json!({"type": "array", "items": inner()}),
        INLINE => schema(&types[INLINE], types),
        name => json!({"$ref": format!("#/components/schemas/{}", schema_name(name))}),
    }
}

/// Where `documented` is not `expected`. Descriptions are free, and a text may be documented as one of several.
fn differences(expected: &Value, documented: &Value, at: &str, are_names: bool, found: &mut Vec<String>) {
    let (Value::Object(expected), Value::Object(documented)) = (expected, documented) else {
        if let (Value::Array(expected), Value::Array(documented)) = (expected, documented)
            && expected.len() == documented.len()
        {
            for (index, (expected, documented)) in expected.iter().zip(documented).enumerate() {
                differences(expected, documented, &format!("{at}/{index}"), false, found);
            }
        } else if expected != documented {
            found.push(format!("{at}: {documented} in the document, {expected} by the type"));
        }
        return;
    };
    let is_text = !are_names && expected.get("type") == Some(&json!("string")) && !expected.contains_key("enum");
    let keys: BTreeSet<_> = expected.keys().chain(documented.keys()).collect();
    for key in keys {
        let at = format!("{at}/{key}");
        match (expected.get(key), documented.get(key)) {
            (Some(expected), Some(documented)) => {
                differences(expected, documented, &at, key == "properties" && !are_names, found);
            }
            (Some(_), None) => found.push(format!("{at}: missing in the document")),
            (None, _) if !are_names && (key == "description" || is_text && key == "enum") => {}
            (None, _) => found.push(format!("{at}: not in the type")),
        }
    }
}

#[test]
fn the_schemas_of_the_api_are_the_types_that_it_serialises() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/openapi.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let documented = document["components"]["schemas"].as_object().unwrap();
    let types = types();
    let mut found = Vec::new();
    for (name, item) in types.iter().filter(|(name, _)| *name != INLINE) {
        let name = schema_name(name);
        match documented.get(name) {
            Some(documented) => differences(&schema(item, &types), documented, name, false, &mut found),
            None => found.push(format!("{name}: has no schema")),
        }
    }
    let typed: BTreeSet<_> = types.keys().map(|name| schema_name(name)).chain(UNTYPED).collect();
    found
        .extend(documented.keys().filter(|name| !typed.contains(name.as_str())).map(|name| format!("{name}: no type")));
    assert!(found.is_empty(), "src/admin/openapi.json is not what is served:\n{}", found.join("\n"));
}
