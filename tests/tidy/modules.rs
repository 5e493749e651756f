//! No module imports one that imports it, directly or through others.
//!
//! A module is a file. It depends on the file that defines an item it names, wherever that item is re-exported. So a parent may
//! re-export its children, and they may name each other through it; a parent that calls a child whose imports it defines is a
//! cycle. The name of a module alone is no dependency. Unit tests are not counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

const ROOTS: [&str; 11] = [
    "src/main.rs",
    "src/access/lib.rs",
    "src/catalogue/lib.rs",
    "src/commitment/lib.rs",
    "src/database/lib.rs",
    "src/memory/lib.rs",
    "src/protocol/lib.rs",
    "src/reencode/lib.rs",
    "src/storage/lib.rs",
    "actors/lib.rs",
    "loadtest/src/main.rs",
];

/// `crate::a::b` as `["a", "b"]`.
type Segments = Vec<String>;

type Modules = BTreeMap<Segments, Module>;

/// A source, as far as it names others.
#[derive(Default)]
struct Module {
    file: String,
    /// The modules that it declares in files of their own.
    children: Vec<String>,
    /// The module itself, or the inline one in it that is read.
    inside: Segments,
    /// The path behind each name that `use` brings in, and whether the `use` is public.
    imports: BTreeMap<String, (Segments, bool)>,
    /// All other paths, single names among them.
    named: BTreeSet<Segments>,
}

impl Module {
    fn read(file: &str, path: &[String]) -> Self {
        let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let mut module = Self { file: file.to_owned(), inside: path.to_vec(), ..Self::default() };
        module.visit_file(&syn::parse_file(&source).unwrap());
        module
    }

    /// `path` from the root of the crate. One into another crate looks like an item of this module.
    fn absolute(&self, path: &[String]) -> Segments {
        let mut absolute = self.inside.clone();
        for segment in path {
            match segment.as_str() {
                "crate" => absolute.clear(),
                "self" => {}
                "super" => drop(absolute.pop()),
                _ => absolute.push(segment.clone()),
            }
        }
        absolute
    }

    fn import(&mut self, prefix: &[String], tree: &syn::UseTree, is_public: bool) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        let (name, path) = match tree {
            syn::UseTree::Path(path) => return self.import(&with(&path.ident), &path.tree, is_public),
            syn::UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.import(prefix, tree, is_public));
            }
            syn::UseTree::Name(name) if name.ident == "self" => (prefix.last().unwrap().clone(), prefix.to_vec()),
            syn::UseTree::Name(name) => (name.ident.to_string(), with(&name.ident)),
            syn::UseTree::Rename(rename) => (rename.rename.to_string(), with(&rename.ident)),
            syn::UseTree::Glob(_) => (format!("{}::*", prefix.join("::")), prefix.to_vec()),
        };
        // `use a::Trait as _` stands for no name that could be looked up.
        let name = if name == "_" { path.join("::") } else { name };
        self.imports.insert(name, (self.absolute(&path), is_public));
    }

    /// The paths in the arguments of a macro.
    fn name_tokens(&mut self, tokens: TokenStream) {
        let mut path = Segments::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(sign) if sign.as_char() == ':' => colons += 1,
                TokenTree::Ident(name) => {
                    if colons != 2 && !path.is_empty() {
                        self.named.insert(self.absolute(&path));
                        path.clear();
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Group(group) => self.name_tokens(group.stream()),
                _ => colons = 0,
            }
        }
        self.named.insert(self.absolute(&path));
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

impl<'ast> Visit<'ast> for Module {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if is_for_tests(&item.attrs) {
            return;
        }
        if item.content.is_none() {
            self.children.push(item.ident.to_string());
        }
        self.inside.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.inside.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.import(&[], &item.tree, !matches!(item.vis, syn::Visibility::Inherited));
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.named.insert(self.absolute(&segments));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.name_tokens(call.tokens.clone());
    }
}

/// Reads the module in `file` and those below it.
fn read_all(file: &str, path: &[String], modules: &mut Modules) {
    let module = Module::read(file, path);
    let (directory, name) = file.rsplit_once('/').unwrap();
    let below = match name {
        "main.rs" | "lib.rs" | "mod.rs" => directory.to_owned(),
        _ => file.trim_end_matches(".rs").to_owned(),
    };
    for child in &module.children {
        let candidates = [format!("{below}/{child}.rs"), format!("{below}/{child}/mod.rs")];
        let is_there = |file: &&String| Path::new(env!("CARGO_MANIFEST_DIR")).join(file).exists();
        let file = candidates.iter().find(is_there).unwrap();
        read_all(file, &[path, std::slice::from_ref(child)].concat(), modules);
    }
    modules.insert(path.to_vec(), module);
}

/// The module that defines what `path` names; `None` if that is a module itself.
fn definition<'a>(modules: &'a Modules, path: &[String]) -> Option<&'a Module> {
    let depth = (0..path.len()).rev().find(|depth| modules.contains_key(&path[..*depth])).unwrap_or_default();
    if modules.contains_key(path) {
        return None;
    }
    let module = &modules[&path[..depth]];
    match module.imports.get(&path[depth]) {
        // One from another crate has the name of its crate before it.
        Some((target, _)) if !target.starts_with(&path[..=depth]) => {
            definition(modules, &[target.as_slice(), &path[depth + 1..]].concat())
        }
        _ => Some(module),
    }
}

/// The files that `module` depends on.
fn dependencies(modules: &Modules, module: &Module) -> BTreeSet<String> {
    let private = module.imports.values().filter(|(_, is_public)| !is_public).map(|(path, _)| path);
    let defined = private.chain(&module.named).filter_map(|path| definition(modules, path));
    defined.map(|module| module.file.clone()).filter(|file| *file != module.file).collect()
}

fn reachable<'a>(graph: &'a BTreeMap<String, BTreeSet<String>>, from: &'a str) -> BTreeSet<&'a str> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(file) = next.pop() {
        next.extend(graph[file].iter().map(String::as_str).filter(|file| reached.insert(*file)));
    }
    reached
}

#[test]
fn no_module_imports_one_that_imports_it() {
    let mut graph = BTreeMap::new();
    for root in ROOTS {
        let mut modules = Modules::new();
        read_all(root, &[], &mut modules);
        graph.extend(modules.values().map(|module| (module.file.clone(), dependencies(&modules, module))));
    }
    assert!(graph.len() > 250 && graph.values().flatten().count() > 700, "{graph:?}");
    let reached: BTreeMap<&str, _> = graph.keys().map(|file| (file.as_str(), reachable(&graph, file))).collect();
    let cycle_of = |file: &str| -> BTreeSet<&str> {
        reached[file].iter().copied().filter(|other| reached[other].contains(file)).collect()
    };
    let cycles: BTreeSet<_> = graph.keys().map(|file| cycle_of(file)).filter(|cycle| !cycle.is_empty()).collect();
    for cycle in &cycles {
        println!("{} files:", cycle.len());
        for file in cycle {
            let imports: Vec<_> = graph[*file].iter().filter(|other| cycle.contains(other.as_str())).collect();
            println!("  {file} imports {imports:?}");
        }
    }
    assert!(cycles.is_empty(), "{cycles:#?}");
}
