//! What can be wrong with a layer, an array or a request, said so that it can be put right.

use thiserror::Error;

use super::{Accounting, MAX_BITS, MAX_DIMENSION, Method, PimArray};

/// Everything [`mapping`](crate::mapping) can refuse.
///
/// Each message is one sentence that names the layer, array or flag, says what was expected, and
/// what to do about it.
#[derive(Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MappingError {
    /// The text is not of the form `ROWSxCOLS`.
    #[error("`{text}` is not an array size: write it as ROWSxCOLS, such as 256x512")]
    ArrayText {
        /// The text as it was given.
        text: String,
    },

    /// The array has no cells along an axis, or more than [`MAX_DIMENSION`].
    #[error("array {rows}x{cols} is out of range: rows and columns must each be 1 to {MAX_DIMENSION}")]
    ArraySize {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
    },

    /// A bit width outside 1 to [`MAX_BITS`].
    #[error("{what} bits are {bits}: they must be 1 to {MAX_BITS}")]
    Bits {
        /// `cell` or `weight`.
        what: &'static str,
        /// The width asked for, in bits.
        bits: u32,
    },

    /// A single weight is wider than a whole row of the array.
    #[error(
        "array {array} has no room for one {weight_bits}-bit weight in a row of {} {}-bit cells: \
         use more columns or fewer weight bits", array.cols, array.cell_bits
    )]
    NoColumns {
        /// The array.
        array: PimArray,
        /// Bits of one weight.
        weight_bits: u32,
    },

    /// A size of the layer that is zero where it must not be, or beyond [`MAX_DIMENSION`].
    #[error("layer `{layer}`: {what} is {value}, and must be {min} to {MAX_DIMENSION}")]
    Dimension {
        /// Name of the layer.
        layer: String,
        /// Which size.
        what: &'static str,
        /// Its value.
        value: usize,
        /// The smallest value allowed.
        min: usize,
    },

    /// The groups do not divide the channels evenly.
    #[error(
        "layer `{layer}`: {groups} groups do not divide its {in_channels} input and {out_channels} output \
         channels evenly: use a number of groups that divides both"
    )]
    Groups {
        /// Name of the layer.
        layer: String,
        /// Number of groups.
        groups: usize,
        /// Its input channels.
        in_channels: usize,
        /// Its output channels.
        out_channels: usize,
    },

    /// The kernel does not fit into the input once, as the accounting sees that input.
    #[error(
        "layer `{layer}`: its {kernel} kernel is larger than the {input} input that {accounting} \
         accounting sees (height x width): use a larger input, more padding, or the other accounting"
    )]
    KernelTooLarge {
        /// Name of the layer.
        layer: String,
        /// Kernel with the gaps that dilation leaves, height x width.
        kernel: String,
        /// The input under this accounting, height x width.
        input: String,
        /// The accounting under which it does not fit.
        accounting: Accounting,
    },

    /// The layer's multiply-accumulates do not fit 64 bits, so its cycles might not either.
    #[error(
        "layer `{layer}` needs more than 2^64 multiply-accumulates: check its sizes, or cut it into \
         smaller layers"
    )]
    TooLarge {
        /// Name of the layer.
        layer: String,
    },

    /// The array has too few rows or columns for one channel of a window.
    #[error(
        "window method infeasible: one channel of the window takes {rows} rows and {cols} columns of whole \
         weights, more than array {array} has: use a larger array, a smaller window, or im2col"
    )]
    Infeasible {
        /// Rows that one input channel takes.
        rows: u64,
        /// Columns that one output channel takes.
        cols: u64,
        /// The array.
        array: PimArray,
    },

    /// The layer is too large for a method's search.
    #[error(
        "method {method} is infeasible: for this layer it would have to handle more than {limit} {what}: use \
         elements or vw-sdk"
    )]
    SearchTooLarge {
        /// The method.
        method: Method,
        /// What there are too many of.
        what: &'static str,
        /// How many there may be.
        limit: u64,
    },

    /// A mapping without pieces, or with more than can be checked.
    #[error(
        "the mapping has {pieces} pieces, and must have 1 to {}: make it again",
        super::MAX_PIECES
    )]
    PieceCount {
        /// How many it has.
        pieces: usize,
    },

    /// A piece of a mapping that does not belong to the layer.
    #[error("layer `{layer}`: piece {index} of its mapping {what}: make the mapping again")]
    Piece {
        /// Name of the layer.
        layer: String,
        /// Which piece, from 0.
        index: usize,
        /// What is wrong with it.
        what: &'static str,
    },

    /// The numbers of a mapping do not follow from its pieces.
    #[error(
        "layer `{layer}`: the mapping was not made for this layer, array and settings: make it again with them"
    )]
    NotThisMapping {
        /// Name of the layer.
        layer: String,
    },

    /// Two neighbouring layers disagree on the channels between them.
    #[error(
        "layer `{layer}` takes {found} input channels, but the layer before it, `{previous}`, \
         produces {expected}: a channel search needs a chain, so make the two agree"
    )]
    BrokenChain {
        /// Name of the layer that does not fit on.
        layer: String,
        /// Name of the layer before it.
        previous: String,
        /// Output channels of the layer before it.
        expected: usize,
        /// Input channels of this layer.
        found: usize,
    },

    /// A layer given for a residual stage has two different widths.
    #[error(
        "layer `{layer}` goes from {in_channels} to {out_channels} channels, but the layer that \
         stands for a residual stage must keep its width: give a convolution inside the stage"
    )]
    NotAStage {
        /// Name of the layer.
        layer: String,
        /// Its input channels.
        in_channels: usize,
        /// Its output channels.
        out_channels: usize,
    },

    /// A channel search met a grouped convolution.
    #[error(
        "layer `{layer}` has groups, whose channels cannot be pruned one by one: leave it out of the channel \
         search"
    )]
    GroupedChain {
        /// Name of the layer.
        layer: String,
    },

    /// No convolution of a network can have so many groups.
    #[error(
        "network `{network}` in {groups} groups: expected 2 or more, and a convolution without groups whose input and output channels can both be \
         divided by them"
    )]
    NoGroups {
        /// Name of the network.
        network: String,
        /// The groups.
        groups: usize,
    },

    /// The ties of a network do not say which of its widths are free.
    #[error("the widths of network `{network}` cannot be searched: {what}")]
    Ties {
        /// Name of the network.
        network: String,
        /// What is missing or wrong.
        what: String,
    },

    /// The limits of a channel search are out of range, or name no layer.
    #[error("limits of the widths: {what}")]
    Limits {
        /// What is wrong.
        what: String,
    },

    /// No widths of a network keep to the budget.
    #[error(
        "no widths of network `{network}` keep to the budget: they keep {most} channels at most, and take \
         {fewest} cycles at least"
    )]
    NoPoint {
        /// Name of the network.
        network: String,
        /// The most channels that can be kept.
        most: usize,
        /// The fewest cycles it can take.
        fewest: u64,
    },

    /// A list of widths that does not match the list of layers.
    #[error("{found} widths were given for {expected} layers or free widths: give one for each")]
    WidthCount {
        /// Number of layers.
        expected: usize,
        /// Number of widths.
        found: usize,
    },

    /// Pruning would leave a layer without any input channel.
    #[error(
        "pruning would leave layer `{layer}` without input channels: keep its width, or use an \
         array with fewer rows so that its tiles are smaller"
    )]
    NoChannelsLeft {
        /// Name of the layer.
        layer: String,
    },

    /// There is no such preset network.
    #[error("unknown network `{name}`: {hint}")]
    UnknownNetwork {
        /// The name asked for.
        name: String,
        /// The nearest names, or all of them where none is near.
        hint: String,
    },

    /// A method, accounting or search that does not exist.
    #[error("unknown {what} `{name}`: use one of {expected}")]
    UnknownName {
        /// `method`, `accounting` or `search`.
        what: &'static str,
        /// The name asked for.
        name: String,
        /// The names there are.
        expected: String,
    },
}
