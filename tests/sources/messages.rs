//! The error messages of each crate stand in its `messages.txt`, so that a review shows which of them changed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use syn::{Attribute, Fields, Item, LitStr};

use super::{packages, shown, sources};

#[test]
fn the_error_messages_of_each_crate_are_those_of_its_snapshot() {
    let bless = std::env::var_os("VLA_TRT_BLESS").is_some();
    let mut stale = Vec::new();
    for package in packages() {
        let (file, messages) = (package.join("messages.txt"), messages(&package));
        let snapshot = fs::read_to_string(&file).unwrap_or_default();
        if bless && messages.is_empty() {
            fs::remove_file(&file).ok();
        } else if bless {
            fs::write(&file, messages).expect("a snapshot is writable");
        } else if snapshot != messages {
            let new = messages.lines().filter(|line| !snapshot.lines().any(|old| old == *line));
            let gone = snapshot.lines().filter(|line| !messages.lines().any(|new| new == *line));
            stale.extend(new.map(|line| format!("{}: + {line}", shown(&file))));
            stale.extend(gone.map(|line| format!("{}: - {line}", shown(&file))));
        }
    }
    assert!(
        stale.is_empty(),
        "{}\nVLA_TRT_BLESS=1 cargo nextest run -p vla_trt_tests --test sources writes the snapshots; read the difference",
        stale.join("\n")
    );
}

/// One line a variant: `path/of/file.rs Enum::Variant: message`.
fn messages(package: &Path) -> String {
    let mut text = String::new();
    for file in sources(package) {
        let source = fs::read_to_string(&file).expect("a file");
        let parsed = syn::parse_file(&source).unwrap_or_else(|error| panic!("{}: {error}", shown(&file)));
        let name = file.strip_prefix(package.join("src")).expect("under src").display().to_string();
        of_items(&parsed.items, &name, &mut text);
    }
    text
}

fn of_items(items: &[Item], file: &str, text: &mut String) {
    for item in items {
        match item {
            Item::Enum(one) => {
                for variant in &one.variants {
                    let name = format!("{}::{}", one.ident, variant.ident);
                    add(&variant.attrs, &name, &variant.fields, file, text);
                }
            }
            Item::Struct(one) => add(&one.attrs, &one.ident.to_string(), &one.fields, file, text),
            Item::Mod(module) => {
                let inner = module.content.as_ref().map(|(_, items)| items.as_slice()).unwrap_or_default();
                of_items(inner, file, text);
            }
            _ => {}
        }
    }
}

fn add(attributes: &[Attribute], name: &str, fields: &Fields, file: &str, text: &mut String) {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("error")) {
        // `transparent`, and formats that are no literal, carry no words of their own.
        let words = attribute.parse_args_with(|input: syn::parse::ParseStream<'_>| {
            let words: LitStr = input.parse()?;
            // The arguments of the format.
            input.parse::<proc_macro2::TokenStream>()?;
            Ok(words.value())
        });
        let Ok(words) = words else { continue };
        let named = fields.iter().filter_map(|field| field.ident.as_ref()).map(ToString::to_string).collect::<Vec<_>>();
        writeln!(text, "{file} {name}({}): {}", named.join(", "), words.replace('\n', "\\n")).expect("to a string");
    }
}
