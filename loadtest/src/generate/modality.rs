//! The modalities of the generator, and the elements of their Information Object Definitions (PS3.3 §A).

use serde::Deserialize;

use super::element::{Elements, Row};
use super::shape::Shape;
use super::{sequences, tables};

/// A kind of instance that can be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Modality {
    Ct,
    Mr,
    Cr,
    Dx,
    /// Ultrasound multi-frame.
    Us,
    /// Digital mammography, for presentation.
    Mg,
    /// Breast tomosynthesis.
    Dbt,
    /// Whole-slide microscopy, one tile a frame.
    Wsi,
    /// Basic text structured report.
    Sr,
    /// Grayscale softcopy presentation state.
    Pr,
}

impl Modality {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 10] =
        [Self::Ct, Self::Mr, Self::Cr, Self::Dx, Self::Us, Self::Mg, Self::Dbt, Self::Wsi, Self::Sr, Self::Pr];

    /// As it is called in scenarios and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ct => "CT",
            Self::Mr => "MR",
            Self::Cr => "CR",
            Self::Dx => "DX",
            Self::Us => "US",
            Self::Mg => "MG",
            Self::Dbt => "DBT",
            Self::Wsi => "WSI",
            Self::Sr => "SR",
            Self::Pr => "PR",
        }
    }

    /// Its SOP class (PS3.4 table B.5-1).
    pub(crate) fn sop_class(self) -> &'static str {
        match self {
            Self::Ct => "1.2.840.10008.5.1.4.1.1.2",
            Self::Mr => "1.2.840.10008.5.1.4.1.1.4",
            Self::Cr => "1.2.840.10008.5.1.4.1.1.1",
            Self::Dx => "1.2.840.10008.5.1.4.1.1.1.1",
            Self::Us => "1.2.840.10008.5.1.4.1.1.3.1",
            Self::Mg => "1.2.840.10008.5.1.4.1.1.1.2",
            Self::Dbt => "1.2.840.10008.5.1.4.1.1.13.1.3",
            Self::Wsi => "1.2.840.10008.5.1.4.1.1.77.1.6",
            Self::Sr => "1.2.840.10008.5.1.4.1.1.88.11",
            Self::Pr => "1.2.840.10008.5.1.4.1.1.11.1",
        }
    }

    /// The picture as devices make it where a scenario says nothing else; `None` for what has no pixels.
    pub(crate) fn usual_shape(self) -> Option<Shape> {
        let grey = |rows, columns, frames| Some(Shape { rows, columns, frames, ..Shape::grey(16, 12) });
        let colour = |rows, columns, frames| Some(Shape { rows, columns, frames, ..Shape::COLOUR });
        match self {
            Self::Ct => grey(512, 512, 1),
            Self::Mr => grey(256, 256, 1),
            Self::Cr => grey(2320, 1920, 1),
            Self::Dx => grey(3072, 2560, 1),
            Self::Us => colour(600, 800, 40),
            Self::Mg => grey(4096, 3328, 1),
            Self::Dbt => grey(2457, 1890, 50),
            Self::Wsi => colour(256, 256, 4000),
            Self::Sr | Self::Pr => None,
        }
    }

    /// Whether its definition has a number of frames.
    pub(crate) fn is_multi_frame(self) -> bool {
        matches!(self, Self::Us | Self::Dbt | Self::Wsi)
    }

    /// Everything of the dataset but the pixel data and what describes its encoding.
    pub(crate) fn elements(self, shape: Option<&Shape>, seed: u64) -> Elements {
        let mut elements = Elements::of(tables::COMMON);
        elements.text((0x0008, 0x0016), "UI", self.sop_class());
        elements.text((0x0010, 0x0020), "LO", &format!("LT{seed}"));
        elements.patchable_uids();
        elements.rows(self.table());
        match self {
            Self::Cr | Self::Ct | Self::Mr | Self::Us | Self::Sr | Self::Pr => {}
            Self::Dx | Self::Mg => sequences::projection(&mut elements, self == Self::Mg),
            Self::Dbt => sequences::tomosynthesis(&mut elements, shape.map_or(1, |shape| shape.frames)),
            Self::Wsi => {
                if let Some(shape) = shape {
                    sequences::whole_slide(&mut elements, shape);
                }
            }
        }
        match self {
            Self::Sr => sequences::text_report(&mut elements),
            Self::Pr => sequences::presentation_state(&mut elements),
            _ => {}
        }
        elements
    }

    fn table(self) -> &'static [Row] {
        match self {
            Self::Ct => tables::CT,
            Self::Mr => tables::MR,
            Self::Cr => tables::CR,
            Self::Dx => tables::DX,
            Self::Us => tables::US,
            Self::Mg => tables::MG,
            Self::Dbt => tables::DBT,
            Self::Wsi => tables::WSI,
            Self::Sr => tables::SR,
            Self::Pr => tables::PR,
        }
    }
}
