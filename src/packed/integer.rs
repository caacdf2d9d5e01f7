/// Quantised weights as the integers that they are multiples of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct IntegerWeights {
    /// From 0 to `levels`: a weight is `scale * (2 * code / levels - 1)`.
    pub codes: Vec<u8>,
    pub levels: u32,
    /// `E = mean|W|` of the latent weights.
    pub scale: f32,
}

impl IntegerWeights {
    /// Of values that `quantize_weight` gives at `bits` bits.
    ///
    /// The largest of them is the scale itself: the latent weight of the largest magnitude is quantised to an end of
    /// the scale. Every code is checked to give back its weight to the bit.
    pub fn new(values: &[f32], bits: u32) -> Result<Self, String> {
        let levels = (1u32 << bits) - 1;
        let scale = values
            .iter()
            .fold(0f32, |largest, value| largest.max(value.abs()));
        if scale != 0.0 && scale / (levels as f32) < f32::MIN_POSITIVE {
            return Err(format!("are too small: {scale:e} at most"));
        }
        let codes = values.iter().map(|&value| {
            if scale == 0.0 {
                return Some(0);
            }
            let code = ((value / scale + 1.0) * 0.5 * levels as f32).round();
            let back = match levels {
                1 => (code * 2.0 - 1.0) * scale,
                _ => (code / levels as f32 * 2.0 - 1.0) * scale,
            };
            (back == value).then_some(code as u8)
        });
        let codes = codes.collect::<Option<_>>();
        Ok(Self {
            codes: codes.ok_or_else(|| {
                format!("are not what {bits} bits give: all of them are next to zero; train it again")
            })?,
            levels,
            scale,
        })
    }

    /// What a one of the sums is worth, where activations are multiples of `1 / activation_levels`.
    pub fn unit(&self, activation_levels: u32) -> f32 {
        self.scale / self.levels as f32 / activation_levels as f32
    }
}
