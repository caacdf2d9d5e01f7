//! Sequences of parts of a value: `torch.split`, as an exporter writes it that does not simplify.

use tract_onnx::pb::NodeProto;

use super::{
    maker::Maker,
    operators::{int, whole},
    values::{Made, Value},
};

/// The most parts of a sequence.
const MAX_PARTS: usize = 1000;

impl Maker<'_> {
    /// Parts of the sizes that a list states, or of one size, of which the last may be smaller.
    pub(super) fn split_to_sequence(&mut self, node: &NodeProto) -> Made<()> {
        let x = self.anywhere(node, 0)?;
        let axis = x.axis(int(node, "axis", 0))?;
        let size = x.shape[axis];
        if !Self::has(node, 1) {
            return Err("takes single places apart".to_owned());
        }
        let stated = self.sizes(node, 1)?;
        let mut parts = whole(&stated.whole()?)?;
        if let (false, &[part]) = (stated.row, &parts[..])
            && part > 0
        {
            if size.div_ceil(part) > MAX_PARTS {
                return Err(format!("makes more than {MAX_PARTS} parts"));
            }
            parts = (0..size)
                .step_by(part)
                .map(|start| part.min(size - start))
                .collect();
        }
        let sum = parts.iter().try_fold(0usize, |all, &part| all.checked_add(part));
        if parts.contains(&0) || sum != Some(size) {
            return Err(format!("splits {size} places into parts of other sizes"));
        }
        let parts = self.cut(node, &x, axis, &parts)?;
        self.give(node, 0, Value::Sequence(parts))
    }

    /// One part.
    pub(super) fn sequence_at(&mut self, node: &NodeProto) -> Made<()> {
        let Value::Sequence(parts) = self.value(node, 0)? else {
            return Err("reads what is no sequence".to_owned());
        };
        let place = self.sizes(node, 1)?.whole()?;
        let place = match place[..] {
            [place] if place < 0 => place.saturating_add(parts.len() as i64),
            [place] => place,
            _ => return Err("names no single part".to_owned()),
        };
        let part = usize::try_from(place).ok().and_then(|place| parts.get(place));
        let part = part.ok_or("names a part that is not there")?.clone();
        self.give(node, 0, part)
    }
}
