//! What a layer of a chip may be: its windows with their arrays and steps, and the best of them for each number of arrays.

use serde::{Deserialize, Serialize};

use crate::mapping::{
    ConvLayer, Cut, MappingConfig, MappingError, Method, WindowChoice, map_layer, windows_of,
};

/// The windows that a layer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Windows {
    /// One output at a time.
    Im2col,
    /// The window that VW-SDK chooses for one array.
    VwSdkFixed,
    /// Any window on whole channels, as VW-SDK lays it out, and im2col.
    VwSdk,
    /// Any window, the weights cut at the edges of arrays.
    #[default]
    Elements,
}

/// The windows of a layer of which each takes fewer steps than every one of fewer arrays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LayerChoices {
    /// The layer's name.
    pub name: String,
    /// The windows, by their arrays.
    pub choices: Vec<WindowChoice>,
    /// Numbers that the layer gives.
    pub outputs: u64,
    /// Rows of its input, as they are counted.
    #[serde(default)]
    pub input_rows: usize,
    /// Rows of its kernel.
    #[serde(default)]
    pub kernel_rows: usize,
}

impl LayerChoices {
    /// The windows of `layer`.
    ///
    /// # Errors
    ///
    /// Those of [`map_layer`].
    pub fn of(layer: &ConvLayer, windows: Windows, config: &MappingConfig) -> Result<Self, MappingError> {
        let all = match windows {
            Windows::Im2col | Windows::VwSdkFixed => {
                let method = if windows == Windows::Im2col {
                    Method::Im2col
                } else {
                    Method::VwSdk
                };
                let mapping = map_layer(layer, method, config)?;
                vec![WindowChoice::of(&mapping)]
            }
            Windows::VwSdk => windows_of(layer, Cut::Channels, config)?,
            Windows::Elements => windows_of(layer, Cut::Elements, config)?,
        };
        Ok(Self {
            name: layer.name.clone(),
            choices: front(all),
            outputs: layer.outputs(config.accounting),
            input_rows: layer.counted(config.accounting).input[0],
            kernel_rows: layer.kernel[0],
        })
    }

    /// The fewest arrays that the layer takes.
    #[must_use]
    pub fn least_arrays(&self) -> u64 {
        self.choices.first().map_or(0, |choice| choice.arrays)
    }

    /// The window and the copies with which the layer takes `steps` steps at most in the fewest arrays.
    #[must_use]
    pub fn within(&self, steps: u64) -> (WindowChoice, u64) {
        let copies = |choice: &WindowChoice| choice.windows.div_ceil(steps.max(1));
        let arrays = |choice: &&WindowChoice| choice.arrays.saturating_mul(copies(choice));
        let least = self
            .choices
            .iter()
            .min_by_key(arrays)
            .expect("a layer has a window");
        (*least, copies(least))
    }

    /// The steps that the layer may take with `arrays` arrays at most, falling, each with the arrays that it takes.
    #[must_use]
    pub fn trades(&self, arrays: u64) -> Vec<(u64, u64)> {
        let mut found: Vec<(u64, u64)> = Vec::new();
        for choice in &self.choices {
            let most = arrays / choice.arrays;
            let mut copies = 1;
            while copies <= most.min(choice.windows) {
                let steps = choice.windows.div_ceil(copies);
                found.push((choice.arrays * copies, steps));
                // The fewest copies that save a step more.
                if steps == 1 {
                    break;
                }
                copies = choice.windows.div_ceil(steps - 1);
            }
        }
        found.sort_unstable();
        keep_falling(&mut found, |&(_, steps)| steps);
        found
    }
}

/// Those that no other one beats.
fn front(mut choices: Vec<WindowChoice>) -> Vec<WindowChoice> {
    choices.sort_by_key(|choice| (choice.arrays, choice.windows, choice.w * choice.h));
    keep_falling(&mut choices, |choice| choice.windows);
    choices
}

/// Keeps those that take fewer steps than all before them.
fn keep_falling<T>(sorted: &mut Vec<T>, steps: impl Fn(&T) -> u64) {
    let mut least = u64::MAX;
    sorted.retain(|one| {
        let fewer = steps(one) < least;
        least = least.min(steps(one));
        fewer
    });
}
