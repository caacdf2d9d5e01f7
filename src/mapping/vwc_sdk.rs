//! VWC-SDK (Rhe, Moon, Ko; JETCAS 2022): VW-SDK's windows on channels that fill them.
//!
//! The method has two halves. The windows are VW-SDK's, and that is all there is to see on one layer, which
//! [`map_layer`](super::map_layer) therefore lays out with the widths it has. The widths come from a search
//! over the whole network, [`channels`](super::channels), and have to be given to the layers first.

use super::{Lay, Mapping, MappingError, Method, problem::Problem, vw_sdk};

/// The method.
pub(crate) struct VwcSdk;

impl Lay for VwcSdk {
    fn map(&self, problem: &Problem) -> Result<Mapping, MappingError> {
        let mut mapping = vw_sdk::VwSdk.map(problem)?;
        if mapping.method == Method::VwSdk {
            mapping.method = Method::VwcSdk;
        }
        Ok(mapping)
    }
}
