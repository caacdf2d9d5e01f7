//! Devices to compute on, chosen at run time among those compiled in.

#[cfg(feature = "remote")]
pub(crate) mod gate;
#[cfg(feature = "remote")]
mod remote;

use std::fmt;
use std::str::FromStr;

use burn::tensor::{Device, Tensor};

use crate::Error;
use crate::panics::attempt;

/// A device by the name that `--device` takes: `flex`, `ndarray`, `wgpu`, `vulkan`, `metal` or `cuda`, the last four with
/// an index where there are several (`cuda:1`); `remote:HOST:PORT`, or `remote:HOST:PORT/1` for the second device that is
/// served there; and `auto`, the best one found.
///
/// ```
/// use vwc_sdk::DeviceName;
///
/// # fn main() -> Result<(), vwc_sdk::Error> {
/// let name: DeviceName = "auto".parse()?;
/// let device = name.found()?.init()?;
/// # let _ = device;
/// assert_eq!("cuda:1".parse::<DeviceName>()?.to_string(), "cuda:1");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceName {
    kind: DeviceKind,
    index: usize,
}

/// What a device is, or is reached by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceKind {
    /// The best that is compiled in and found
    Auto,
    /// The CPU, by Burn's own backend and this crate's kernels
    Flex,
    /// The CPU, by the older ndarray backend: far slower in training
    Ndarray,
    /// The GPU, by Vulkan, Metal or Direct3D 12, whichever is there; by OpenGL where none is
    Wgpu,
    /// The GPU, by Vulkan
    Vulkan,
    /// The GPU, by Metal
    Metal,
    /// An NVIDIA GPU, by CUDA
    Cuda,
    /// A device of another process, reached at this host and port
    Remote(String),
}

/// The kinds that stand for a device of this machine, the fastest first.
const LOCAL: [DeviceKind; 6] = [
    DeviceKind::Cuda,
    DeviceKind::Metal,
    DeviceKind::Vulkan,
    DeviceKind::Wgpu,
    DeviceKind::Flex,
    DeviceKind::Ndarray,
];

/// What a client shows a server that asks for a token, and a server asks for.
pub const TOKEN_VARIABLE: &str = "VWC_SDK_TOKEN";

impl DeviceKind {
    /// Its name, which is also that of its Cargo feature; `auto` has none.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
            Self::Wgpu => "wgpu",
            Self::Vulkan => "vulkan",
            Self::Metal => "metal",
            Self::Cuda => "cuda",
            Self::Remote(_) => "remote",
        }
    }

    /// Whether it is in this build.
    pub fn compiled_in(&self) -> bool {
        match self {
            Self::Auto => true,
            Self::Flex => cfg!(feature = "flex"),
            Self::Ndarray => cfg!(feature = "ndarray"),
            Self::Wgpu => cfg!(feature = "wgpu"),
            Self::Vulkan => cfg!(feature = "vulkan"),
            Self::Metal => cfg!(feature = "metal"),
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Remote(_) => cfg!(feature = "remote"),
        }
    }

    /// Whether it is a processor that this process computes on itself: what goes wrong there is a mistake in a program,
    /// not a device that fails.
    fn is_cpu(&self) -> bool {
        matches!(self, Self::Flex | Self::Ndarray)
    }

    /// The kinds that stand for a device of this machine, the fastest first.
    pub fn local() -> impl Iterator<Item = Self> {
        LOCAL.into_iter()
    }
}

impl Default for DeviceName {
    /// `flex` where it is compiled in, otherwise the first kind that is. Results on it are the same every time.
    fn default() -> Self {
        let cpus = [DeviceKind::Flex, DeviceKind::Ndarray].into_iter();
        let kind = cpus.chain(LOCAL).find(DeviceKind::compiled_in);
        Self::from(kind.unwrap_or(DeviceKind::Flex))
    }
}

impl From<DeviceKind> for DeviceName {
    /// The first of its kind.
    fn from(kind: DeviceKind) -> Self {
        Self { kind, index: 0 }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        match (&self.kind, self.index) {
            (DeviceKind::Remote(address), 0) => write!(f, ":{address}"),
            (DeviceKind::Remote(address), index) => write!(f, ":{address}/{index}"),
            (_, 0) => Ok(()),
            (_, index) => write!(f, ":{index}"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |expected: &str| {
            Err(Error::DeviceName {
                name: text.into(),
                expected: expected.into(),
            })
        };
        let (name, rest) = match text.split_once(':') {
            Some((name, rest)) => (name, Some(rest)),
            None => (text, None),
        };
        if name == "remote" {
            let Some(rest) = rest else {
                return refuse("remote:HOST:PORT, such as remote:127.0.0.1:7470");
            };
            let (address, index) = rest.split_once('/').unwrap_or((rest, "0"));
            let port = address.rsplit_once(':').and_then(|(host, port)| {
                let port = port.parse::<u16>().ok().filter(|&port| port > 0);
                port.filter(|_| !host.is_empty())
            });
            return match (port, index.parse()) {
                (Some(_), Ok(index)) => Ok(Self {
                    kind: DeviceKind::Remote(address.into()),
                    index,
                }),
                _ => refuse("remote:HOST:PORT, or remote:HOST:PORT/INDEX where several devices are served"),
            };
        }
        let kinds = LOCAL.into_iter().chain([DeviceKind::Auto]);
        let Some(kind) = kinds.into_iter().find(|kind| kind.name() == name) else {
            return refuse("auto, flex, ndarray, wgpu, vulkan, metal, cuda or remote:HOST:PORT");
        };
        match rest.map_or(Ok(0), str::parse) {
            Ok(index) if index == 0 || kind != DeviceKind::Auto => Ok(Self { kind, index }),
            _ if kind == DeviceKind::Auto => {
                refuse("auto alone, for the best device, or one by its name and index, such as cuda:1")
            }
            _ => refuse(&format!("{name}:INDEX, counted from 0, such as {name}:1")),
        }
    }
}

impl DeviceName {
    /// Another of its kind.
    pub fn with_index(mut self, index: usize) -> Self {
        self.index = index;
        self
    }

    /// What the device is.
    pub fn kind(&self) -> &DeviceKind {
        &self.kind
    }

    /// Which one of its kind, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// `auto` as the device that it stands for: the first of CUDA, Metal, Vulkan and wgpu of which there is a GPU, else
    /// the CPU. Any other name as it is.
    ///
    /// # Errors
    ///
    /// [`Error::DeviceNotCompiledIn`] where the build has none at all.
    pub fn found(&self) -> Result<Self, Error> {
        if self.kind != DeviceKind::Auto {
            return Ok(self.clone());
        }
        let kinds = LOCAL.into_iter().filter(DeviceKind::compiled_in);
        let found = kinds
            .map(Self::from)
            .find(|name| name.kind.is_cpu() || name.init().is_ok_and(|device| !renders_in_software(&device)));
        found.ok_or_else(|| Error::DeviceNotCompiledIn {
            device: DeviceKind::Flex.name(),
            available: available(),
        })
    }

    /// The device itself, without automatic differentiation. `auto` is [`found`](Self::found) first.
    ///
    /// # Errors
    ///
    /// [`Error::DeviceNotCompiledIn`] names the Cargo feature that is missing; [`Error::Device`] says why there is no such
    /// device, what a driver lacks, or why a server is not reached.
    pub fn init(&self) -> Result<Device, Error> {
        if !self.kind.compiled_in() {
            return Err(Error::DeviceNotCompiledIn {
                device: self.kind.name(),
                available: available(),
            });
        }
        let refuse = |reason: String| {
            Err(Error::Device {
                device: self.to_string(),
                reason,
            })
        };
        if self.kind.is_cpu() && self.index > 0 {
            return refuse(
                "there is one such device, index 0: this process uses all cores of the CPU".into(),
            );
        }
        match &self.kind {
            DeviceKind::Auto => self.found()?.init(),
            #[cfg(feature = "flex")]
            DeviceKind::Flex => Ok(Device::flex()),
            // Upstream means to drop it; until then it is the second opinion on the CPU.
            #[cfg(feature = "ndarray")]
            #[allow(deprecated)]
            DeviceKind::Ndarray => Ok(Device::ndarray()),
            #[cfg(feature = "remote")]
            DeviceKind::Remote(address) => remote::connect(self, address),
            kind => {
                let mut devices = match attempt(|| local_devices(kind)) {
                    Ok(devices) => devices,
                    Err(reason) => return refuse(format!("its driver cannot be asked: {reason}")),
                };
                if self.index >= devices.len() {
                    return refuse(match devices.len() {
                        0 => absent(kind).into(),
                        1 => "there is one such device, index 0".into(),
                        many => format!("there are {many} such devices: indices 0 to {}", many - 1),
                    });
                }
                let device = devices.swap_remove(self.index);
                // Burn opens a GPU when it is first computed on, and panics where that fails.
                match attempt(|| Tensor::<1>::ones([2], &device).sum().into_scalar::<f32>()) {
                    Ok(2.0) => Ok(device),
                    Ok(sum) => refuse(format!(
                        "it adds 1 and 1 up to {sum}: its driver is not to be trusted"
                    )),
                    Err(reason) => refuse(format!("it cannot be opened: {reason}")),
                }
            }
        }
    }

    /// This device and those after it of its kind, `count` in all. A CPU is one device: there it is that device so many
    /// times, which shares out its cores.
    ///
    /// # Errors
    ///
    /// Those of [`init`](Self::init), of the first device that is not there; [`Error::Device`] for several that are lent.
    pub fn init_many(&self, count: usize) -> Result<Vec<Device>, Error> {
        let name = self.found()?;
        // Tensors that go from one to the other are lost now and then, in Burn 0.22's fusion of remote operations.
        if count > 1 && matches!(name.kind, DeviceKind::Remote(_)) {
            return Err(Error::Device {
                device: self.to_string(),
                reason: "several devices of a server cannot train together: use one, or start the training on that machine"
                    .into(),
            });
        }
        let step = usize::from(!name.kind.is_cpu());
        let names = (0..count).map(|n| Self {
            index: name.index + n * step,
            kind: name.kind.clone(),
        });
        names.map(|name| name.init()).collect()
    }

    /// What `work` returns, or an [`Error::Device`] where the device gives up in the middle of it: GPUs and servers say so
    /// by a panic in Burn, or by one that Burn's training has caught. On the CPU a panic is a mistake in a program, and
    /// stays one.
    ///
    /// # Errors
    ///
    /// Those of `work`, and [`Error::Device`].
    pub fn guard<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        if self.kind.is_cpu() {
            return work();
        }
        let refuse = |reason: String| {
            Err(Error::Device {
                device: self.to_string(),
                reason,
            })
        };
        match attempt(work) {
            Ok(Ok(done)) => Ok(done),
            // Whatever failed first, it failed for want of the server.
            #[cfg(feature = "remote")]
            _ if matches!(&self.kind, DeviceKind::Remote(address) if !remote::answers(address)) => {
                refuse("its server is gone: start it again".into())
            }
            Ok(Err(Error::Training { reason, .. })) | Err(reason) => refuse(format!("it gave up: {reason}")),
            Ok(failed) => failed,
        }
    }

    /// The part's own name, where the device tells one.
    pub fn describe(&self, device: &Device) -> String {
        let _ = device;
        #[cfg(any(feature = "wgpu", feature = "cuda"))]
        if let Ok(Some(identity)) = attempt(|| device.identity()) {
            #[cfg(feature = "wgpu")]
            if self.kind == DeviceKind::Wgpu {
                return format!("{}, by {}", identity.name, graphics_api());
            }
            return identity.name;
        }
        match self.kind {
            DeviceKind::Flex | DeviceKind::Ndarray => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                format!("CPU, {cores} threads")
            }
            _ => String::new(),
        }
    }
}

/// The API that Burn reaches the GPU `wgpu` by.
#[cfg(feature = "wgpu")]
fn graphics_api() -> String {
    use cubecl_wgpu::{AutoGraphicsApi, Backend, GraphicsApi};

    match AutoGraphicsApi::backend() {
        Backend::Dx12 => "Direct3D 12".into(),
        Backend::Gl => "OpenGL".into(),
        api => format!("{api:?}"),
    }
}

/// How many there are of a kind, by asking its driver.
///
/// # Errors
///
/// [`Error::Device`] where the driver cannot be asked.
pub fn count(kind: &DeviceKind) -> Result<usize, Error> {
    if kind.is_cpu() {
        return Ok(usize::from(kind.compiled_in()));
    }
    let devices = attempt(|| local_devices(kind).len());
    devices.map_err(|reason| Error::Device {
        device: kind.name().into(),
        reason: format!("its driver cannot be asked: {reason}"),
    })
}

/// Every device of a kind that needs a driver.
fn local_devices(kind: &DeviceKind) -> Vec<Device> {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    use burn::tensor::DeviceType;
    match kind {
        #[cfg(feature = "wgpu")]
        DeviceKind::Wgpu => Device::enumerate(DeviceType::Wgpu).into_vec(),
        #[cfg(feature = "vulkan")]
        DeviceKind::Vulkan => Device::enumerate(DeviceType::Vulkan).into_vec(),
        #[cfg(feature = "metal")]
        DeviceKind::Metal => Device::enumerate(DeviceType::Metal).into_vec(),
        #[cfg(feature = "cuda")]
        DeviceKind::Cuda => Device::enumerate(DeviceType::Cuda).into_vec(),
        _ => Vec::new(),
    }
}

/// Why there may be no device of a kind, and what to do.
fn absent(kind: &DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Cuda => {
            "no NVIDIA GPU is found: is its driver installed? `nvidia-smi` shows what there is"
        }
        DeviceKind::Metal => "no GPU is found: Metal is on Apple's machines alone",
        _ => {
            "no GPU is found: is a Vulkan driver installed? On Debian, `apt-get install libvulkan1 mesa-vulkan-drivers` \
             brings drivers and a renderer in software, and `vulkaninfo --summary` of vulkan-tools shows what there is"
        }
    }
}

/// The kinds of this build, for an error message.
fn available() -> String {
    let names: Vec<_> = LOCAL
        .iter()
        .rev()
        .filter(|kind| kind.compiled_in())
        .map(DeviceKind::name)
        .collect();
    names.join(", ")
}

/// Whether a GPU is the CPU in disguise, as Mesa's llvmpipe.
fn renders_in_software(device: &Device) -> bool {
    let text = format!("{device:?}");
    text.contains("Cpu")
}
