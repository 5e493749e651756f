//! Every different dataset of a scenario, encoded once before the load begins, and framed once for each length of PDU.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;

use crate::dataset::Dataset;
use crate::generate::files::FilesError;
use crate::generate::{self, files};
use crate::message::Framed;
use crate::pdu::PresentationContext;
use crate::scenario::{Range, Scenario, Source};

/// Presentation contexts that one association can have: the odd numbers of a byte (PS3.8 §9.3.2.2).
const MAX_CONTEXTS: usize = 128;

/// Why a scenario's datasets cannot be made.
#[derive(Debug, Error)]
pub(crate) enum CatalogueError {
    #[error("the scenario needs more than 128 presentation contexts: use fewer different kinds of files")]
    TooManyContexts,
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// The datasets of a run.
#[derive(Debug)]
pub(crate) struct Catalogue {
    pub(crate) templates: Vec<Template>,
    pub(crate) contexts: Vec<PresentationContext>,
    pub(crate) kinds: Vec<Kind>,
    /// Sum of the weights of all kinds.
    pub(crate) weight: u64,
    /// The changes to the user's own files, in sentences.
    pub(crate) notes: Vec<String>,
    framed: Mutex<BTreeMap<usize, Arc<Vec<Arc<Framed>>>>>,
}

/// A dataset whose UIDs are still to be filled in.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) dataset: Dataset,
    /// Index of its kind of study.
    pub(crate) kind: usize,
    /// ID of its presentation context.
    pub(crate) context: u8,
}

/// A kind of study.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: String,
    pub(crate) weight: u64,
    pub(crate) studies: Studies,
}

/// How the studies of a kind are made up.
#[derive(Debug)]
pub(crate) enum Studies {
    /// So many series of so many instances, each series of one of the templates.
    Generated { templates: Vec<usize>, series: Range, instances: Range },
    /// One of these, each instance with the number of its series and its template.
    Given(Vec<Vec<(usize, usize)>>),
}

impl Catalogue {
    /// Encodes everything that `scenario` sends.
    ///
    /// # Errors
    /// When a directory of files cannot be used, or there are more kinds of instances than presentation contexts.
    pub(crate) fn new(scenario: &Scenario, seed: u64) -> Result<Self, CatalogueError> {
        let mut catalogue = Self {
            templates: Vec::new(),
            contexts: Vec::new(),
            kinds: Vec::new(),
            weight: 0,
            notes: Vec::new(),
            framed: Mutex::default(),
        };
        for study in &scenario.mix {
            let studies = match &study.source {
                Source::Generated { modality, encoding, shapes, series, instances } => {
                    let mut templates = Vec::new();
                    let shapes = shapes.iter().map(Some).chain(shapes.is_empty().then_some(None));
                    for (variant, shape) in shapes.enumerate() {
                        let seed = seed.wrapping_add(variant as u64);
                        templates.push(catalogue.add(generate::dataset(*modality, shape, *encoding, seed))?);
                    }
                    Studies::Generated { templates, series: *series, instances: *instances }
                }
                Source::Files { directory, limit, keep_patient } => {
                    let mut studies = Vec::new();
                    let files = files::load(directory, *limit, *keep_patient)?;
                    catalogue.notes.push(files.note);
                    for study in files.studies {
                        let instances = study.instances.into_iter();
                        let instances = instances.map(|(series, dataset)| Ok((series, catalogue.add(dataset)?)));
                        studies.push(instances.collect::<Result<Vec<_>, CatalogueError>>()?);
                    }
                    Studies::Given(studies)
                }
            };
            let weight = u64::from(study.weight);
            catalogue.weight += weight;
            catalogue.kinds.push(Kind { name: study.name.clone(), weight, studies });
        }
        Ok(catalogue)
    }

    /// Adds a template of the kind that is being made and returns its index.
    fn add(&mut self, dataset: Dataset) -> Result<usize, CatalogueError> {
        let same = |context: &&PresentationContext| {
            context.abstract_syntax == dataset.sop_class && context.transfer_syntax == dataset.transfer_syntax
        };
        let context = match self.contexts.iter().find(same) {
            Some(context) => context.id,
            None if self.contexts.len() == MAX_CONTEXTS => return Err(CatalogueError::TooManyContexts),
            None => {
                let id = u8::try_from(self.contexts.len() * 2 + 1).unwrap_or(u8::MAX);
                let (abstract_syntax, transfer_syntax) = (dataset.sop_class.clone(), dataset.transfer_syntax.clone());
                self.contexts.push(PresentationContext { id, abstract_syntax, transfer_syntax });
                id
            }
        };
        self.templates.push(Template { dataset, kind: self.kinds.len(), context });
        Ok(self.templates.len() - 1)
    }

    /// Every template's message for a peer that takes so many bytes a fragment: one set, in practice.
    pub(crate) fn framed(&self, fragment_bytes: usize) -> Arc<Vec<Arc<Framed>>> {
        let mut framed = self.framed.lock().unwrap_or_else(PoisonError::into_inner);
        let made = framed.entry(fragment_bytes).or_insert_with(|| {
            let templates = self.templates.iter();
            let each =
                templates.map(|template| Arc::new(Framed::dicom(&template.dataset, template.context, fragment_bytes)));
            Arc::new(each.collect())
        });
        Arc::clone(made)
    }
}
