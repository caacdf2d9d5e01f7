//! The methods by name, and what each of them has to do.

use serde::{Deserialize, Serialize};

use super::{
    Mapping, MappingError, best, channel_tiles, elements, im2col, output_tiles, problem::Problem, sdk,
    strips, tetris, tiled_strips, vw_sdk, vwc_sdk,
};

/// How a layer's weights are laid out on the array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Method {
    /// One kernel-sized patch a cycle, every filter unrolled into one column.
    Im2col,
    /// Square windows and shifted copies of the filters, on im2col's grid of arrays (Zhang et al.,
    /// TCAD 2021).
    Sdk,
    /// Rectangular windows with as many channels as fit, and im2col where that needs no more cycles
    /// (Rhe, Moon, Ko; DATE 2022).
    #[default]
    VwSdk,
    /// VW-SDK's windows on channels that were searched to fill them (Rhe, Moon, Ko; JETCAS 2022).
    VwcSdk,
    /// Any window with all channels, the weights cut at the array's edges.
    Elements,
    /// The output cut from side to side, either way and again, each piece with its own window.
    Strips,
    /// Input channels in tiles, each with its own window.
    ChannelTiles,
    /// Input channels in tiles, each with strips of its own.
    TiledStrips,
    /// The fewest cycles of all; of a tie, the fewest cells written.
    Best,
    /// VW-SDK's windows made squarer, with windows of their own for margins and for channels that are left over (TetrisG-SDK: Dong, Huang, Luo,
    /// Wang; arXiv 2604.25377), where these fit.
    Tetris,
    /// Output channels in two tiles, each with channel tiles and strips of its own.
    OutputTiles,
}

super::names!(Method, "method", {
    "im2col" => Im2col,
    "sdk" => Sdk,
    "vw-sdk" => VwSdk,
    "vwc-sdk" => VwcSdk,
    "tetris" => Tetris,
    "elements" => Elements,
    "strips" => Strips,
    "channel-tiles" => ChannelTiles,
    "tiled-strips" => TiledStrips,
    "output-tiles" => OutputTiles,
    "best" => Best,
});

/// What each method does: lay a checked layer out on a checked array.
pub(super) trait Lay {
    /// # Errors
    ///
    /// [`MappingError::SearchTooLarge`] where the method's search would not end in good time.
    fn map(&self, problem: &Problem) -> Result<Mapping, MappingError>;
}

impl Method {
    /// Every method, from the oldest on.
    pub const ALL: [Self; 11] = [
        Self::Im2col,
        Self::Sdk,
        Self::VwSdk,
        Self::VwcSdk,
        Self::Tetris,
        Self::Elements,
        Self::Strips,
        Self::ChannelTiles,
        Self::TiledStrips,
        Self::OutputTiles,
        Self::Best,
    ];

    pub(super) fn lay(self) -> &'static dyn Lay {
        match self {
            Self::Im2col => &im2col::Im2col,
            Self::Sdk => &sdk::Sdk,
            Self::VwSdk => &vw_sdk::VwSdk,
            Self::VwcSdk => &vwc_sdk::VwcSdk,
            Self::Tetris => &tetris::Tetris,
            Self::Elements => &elements::Elements,
            Self::Strips => &strips::Strips,
            Self::ChannelTiles => &channel_tiles::ChannelTiles,
            Self::TiledStrips => &tiled_strips::TiledStrips,
            Self::OutputTiles => &output_tiles::OutputTiles,
            Self::Best => &best::Best,
        }
    }
}
