use burn::tensor::Device;
use clap::ValueEnum;

use crate::Error;

/// A device to compute on, chosen at run time among those compiled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeviceName {
    /// The CPU, by Burn's own backend. Feature `flex`, on by default
    Flex,
    /// The CPU, by the older ndarray backend: far slower in training. Feature `ndarray`
    Ndarray,
    /// The GPU, by Vulkan, Metal or WebGPU. Feature `wgpu`
    Wgpu,
}

impl Default for DeviceName {
    /// `flex` where it is compiled in.
    fn default() -> Self {
        Self::available().next().unwrap_or(Self::Flex)
    }
}

impl DeviceName {
    /// The device itself, without automatic differentiation.
    ///
    /// # Errors
    ///
    /// [`Error::DeviceNotCompiledIn`] names the Cargo feature that is missing.
    pub fn init(self) -> Result<Device, Error> {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => Ok(Device::flex()),
            // Upstream means to drop it; until then it is the second opinion on the CPU.
            #[cfg(feature = "ndarray")]
            #[allow(deprecated)]
            Self::Ndarray => Ok(Device::ndarray()),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
            #[allow(unreachable_patterns)]
            absent => Err(Error::DeviceNotCompiledIn {
                device: absent.name(),
                available: Self::available().map(Self::name).collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// The devices of this build.
    pub fn available() -> impl Iterator<Item = Self> {
        [
            (Self::Flex, cfg!(feature = "flex")),
            (Self::Ndarray, cfg!(feature = "ndarray")),
            (Self::Wgpu, cfg!(feature = "wgpu")),
        ]
        .into_iter()
        .filter_map(|(device, compiled_in)| compiled_in.then_some(device))
    }

    /// The name of the device, which is also that of its Cargo feature.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
            Self::Wgpu => "wgpu",
        }
    }
}
