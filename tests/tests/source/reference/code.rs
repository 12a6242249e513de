//! Reads structs, enums and their comments from the code.

use std::fs;
use std::path::{Path, PathBuf};

use syn::{Attribute, Fields, GenericArgument, Item, PathArguments, Type, Variant};

/// A field of a struct, with its comment.
#[derive(Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: Type,
    pub(super) attributes: Vec<Attribute>,
    pub(super) text: String,
}

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the code of a file, without its tests.
pub(super) fn code(file: impl AsRef<Path>) -> String {
    let code = fs::read_to_string(root().join(file)).unwrap();
    let (code, _tests) = code.split_once("#[cfg(test)]\nmod ").unwrap_or((&code, ""));
    code.to_owned()
}

pub(super) fn items(file: impl AsRef<Path>) -> Vec<Item> {
    syn::parse_file(&code(file)).unwrap().items
}

/// Returns the fields of a struct.
pub(super) fn fields(items: &[Item], name: &str) -> Vec<Field> {
    let found = items.iter().find_map(|item| match item {
        Item::Struct(found) if found.ident == name => Some(found),
        _ => None,
    });
    let found = found.unwrap_or_else(|| panic!("there is no struct {name}"));
    let Fields::Named(fields) = &found.fields else {
        panic!("{name} has no names of fields")
    };
    let fields = fields.named.iter().map(|field| Field {
        name: field.ident.as_ref().unwrap().to_string(),
        kind: field.ty.clone(),
        attributes: field.attrs.clone(),
        text: comment(&field.attrs),
    });
    fields.collect()
}

/// Returns the variants of an enum, with their names as serde writes them.
pub(super) fn variants(items: &[Item], name: &str) -> Option<Vec<(String, String)>> {
    let found = items.iter().find_map(|item| match item {
        Item::Enum(found) if found.ident == name => Some(found),
        _ => None,
    });
    let variants = found?.variants.iter();
    let variants = variants.map(|variant| (written(variant), comment(&variant.attrs)));
    Some(variants.collect())
}

fn written(variant: &Variant) -> String {
    if let Some(renamed) = in_serde(&variant.attrs, "rename") {
        return renamed;
    }
    let mut name = String::new();
    for letter in variant.ident.to_string().chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

/// Returns a value in `#[serde(…)]`.
pub(super) fn in_serde(attributes: &[Attribute], name: &str) -> Option<String> {
    let mut value = None;
    for attribute in attributes.iter().filter(|it| it.path().is_ident("serde")) {
        let _other_values = attribute.parse_nested_meta(|meta| {
            let text: syn::LitStr = meta.value()?.parse()?;
            if meta.path.is_ident(name) {
                value = Some(text.value());
            }
            Ok(())
        });
    }
    value
}

/// Returns the first paragraph of a comment in one line, without links.
pub(super) fn comment(attributes: &[Attribute]) -> String {
    let mut lines = Vec::new();
    for attribute in attributes {
        let syn::Meta::NameValue(pair) = &attribute.meta else {
            continue;
        };
        if let syn::Expr::Lit(literal) = &pair.value
            && let syn::Lit::Str(line) = &literal.lit
            && pair.path.is_ident("doc")
        {
            lines.push(line.value().trim().to_owned());
        }
    }
    let paragraph = lines.split(String::is_empty).next().unwrap_or_default();
    let mut text = paragraph.join(" ");
    while let Some(target) = text.find("](") {
        let end = target + text[target..].find(')').unwrap();
        text.replace_range(target..=end, "");
    }
    text.replace("[`", "`").replace("`]", "`")
}

/// Returns the name of a type, and the types in its angle brackets.
pub(super) fn parts(kind: &Type) -> (String, Vec<&Type>) {
    let Type::Path(path) = kind else {
        panic!("a type has no name")
    };
    let last = path.path.segments.last().unwrap();
    let mut inner = Vec::new();
    if let PathArguments::AngleBracketed(arguments) = &last.arguments {
        inner.extend(arguments.args.iter().filter_map(|argument| match argument {
            GenericArgument::Type(kind) => Some(kind),
            _ => None,
        }));
    }
    (last.ident.to_string(), inner)
}
