//! Whether a list of pieces, which may come from a file, covers a layer.

use super::{ConvLayer, MAX_PIECES, MappingError, Piece, problem::Problem};

/// Checks that the pieces lie inside the layer, do not overlap, and leave nothing out.
pub(super) fn check_pieces(
    layer: &ConvLayer,
    problem: &Problem,
    pieces: &[Piece],
) -> Result<(), MappingError> {
    if pieces.is_empty() || pieces.len() > MAX_PIECES {
        return Err(MappingError::PieceCount { pieces: pieces.len() });
    }
    let refuse = |index, what| {
        Err(MappingError::Piece {
            layer: layer.name.clone(),
            index,
            what,
        })
    };
    // Five axes: groups, input channels, output channels, columns and rows of the output.
    let ends = [
        problem.groups,
        problem.in_channels,
        problem.out_channels,
        problem.across.out,
        problem.down.out,
    ];
    let spans: Vec<[[u64; 2]; 5]> = pieces
        .iter()
        .map(|piece| {
            let range = |range: &std::ops::Range<usize>| [range.start as u64, range.end as u64];
            let side = |start: usize, length: usize| [start as u64, start.saturating_add(length) as u64];
            [
                range(&piece.groups),
                range(&piece.in_channels),
                range(&piece.out_channels),
                side(piece.outputs.left, piece.outputs.width),
                side(piece.outputs.top, piece.outputs.height),
            ]
        })
        .collect();
    let mut covered: u128 = 0;
    for (index, (piece, span)) in pieces.iter().zip(&spans).enumerate() {
        if (span.iter().zip(ends)).any(|(&[start, end], limit)| start >= end || end > limit) {
            return refuse(index, "is empty or reaches beyond the layer");
        }
        let windows = [(piece.w, problem.across.out), (piece.h, problem.down.out)];
        if windows.iter().any(|&(size, out)| size == 0 || size as u64 > out) {
            return refuse(index, "has a window that is empty or larger than the output");
        }
        let meets = |other: &[[u64; 2]; 5]| (span.iter().zip(other)).all(|(a, b)| a[0] < b[1] && b[0] < a[1]);
        if spans[..index].iter().any(meets) {
            return refuse(index, "overlaps an earlier piece");
        }
        covered += span
            .iter()
            .map(|[start, end]| u128::from(end - start))
            .product::<u128>();
    }
    if covered != ends.iter().map(|&end| u128::from(end)).product::<u128>() {
        return refuse(
            pieces.len() - 1,
            "is the last, and still some outputs or channels are left out",
        );
    }
    Ok(())
}
