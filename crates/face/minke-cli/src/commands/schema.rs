//! Go's structs behind `inspect`, `info`, `version` and `events`, for `--format`.
//!
//! Templates run over these types in Docker, so a field that the JSON leaves out still has its zero value, and structs
//! print in the order of their fields. The notation is `minke_template::Schema`'s.

use minke_template::Schema;
use std::rc::Rc;

/// `docker inspect CONTAINER`.
pub(crate) fn container() -> Rc<Schema> {
    Schema::parse(CONTAINER)
}

/// `docker inspect IMAGE`.
pub(crate) fn image() -> Rc<Schema> {
    Schema::parse(IMAGE)
}

/// `docker network inspect`.
pub(crate) fn network() -> Rc<Schema> {
    Schema::parse(NETWORK)
}

/// `docker volume inspect`.
pub(crate) fn volume() -> Rc<Schema> {
    Schema::parse(VOLUME)
}

/// `docker info`.
pub(crate) fn info() -> Rc<Schema> {
    Schema::parse(INFO)
}

/// `docker version`.
pub(crate) fn version() -> Rc<Schema> {
    Schema::parse(VERSION)
}

/// `docker context inspect`.
pub(crate) fn context() -> Rc<Schema> {
    Schema::parse(CONTEXT)
}

/// `docker events`.
pub(crate) fn event() -> Rc<Schema> {
    Schema::parse(EVENT)
}

const CONTAINER: &str = "
Container container.InspectResponse
@*ContainerJSONBase Mounts []MountPoint Config *Config NetworkSettings *NetworkSettings ImageManifestDescriptor *Descriptor
ContainerJSONBase *container.ContainerJSONBase
ID<Id s Created s Path s Args []s State *State Image s ResolvConfPath s HostnamePath s HostsPath s LogPath s Name s RestartCount i Driver s Platform s MountLabel s ProcessLabel s AppArmorProfile s ExecIDs []s HostConfig *HostConfig GraphDriver Driver SizeRw *i SizeRootFs *i
State container.State
Status s Running b Paused b Restarting b OOMKilled b Dead b Pid i ExitCode i Error s StartedAt s FinishedAt s Health *Health
Health container.Health
Status s FailingStreak i Log []*HealthResult
HealthResult container.HealthcheckResult
Start t End t ExitCode i Output s
Driver storage.DriverData
Data {}s Name s
MountPoint container.MountPoint
Type s Name s Source s Destination s Driver s Mode s RW b Propagation s
Descriptor v1.Descriptor
MediaType<mediaType s Digest<digest s Size<size i URLs<urls []s Annotations<annotations {}s Data<data a Platform<platform *Platform ArtifactType<artifactType s
Platform v1.Platform
Architecture<architecture s OS<os s OSVersion<os.version s OSFeatures<os.features []s Variant<variant s
Config container.Config
Hostname s Domainname s User s AttachStdin b AttachStdout b AttachStderr b ExposedPorts {}= Tty b OpenStdin b StdinOnce b Env []s Cmd []s Healthcheck *HealthConfig ArgsEscaped b Image s Volumes {}= WorkingDir s Entrypoint []s NetworkDisabled b MacAddress s OnBuild []s Labels {}s StopSignal s StopTimeout *i Shell []s
HealthConfig v1.HealthcheckConfig
Test []s Interval d Timeout d StartPeriod d StartInterval d Retries i
HostConfig container.HostConfig
Binds []s ContainerIDFile s LogConfig LogConfig NetworkMode s PortBindings {}[]PortBinding RestartPolicy RestartPolicy AutoRemove b VolumeDriver s VolumesFrom []s ConsoleSize []i Annotations {}s CapAdd []s CapDrop []s CgroupnsMode s DNS<Dns []s DNSOptions<DnsOptions []s DNSSearch<DnsSearch []s ExtraHosts []s GroupAdd []s IpcMode s Cgroup s Links []s OomScoreAdj i PidMode s Privileged b PublishAllPorts b ReadonlyRootfs b SecurityOpt []s StorageOpt {}s Tmpfs {}s UTSMode s UsernsMode s ShmSize i Sysctls {}s Runtime s Isolation s @Resources Mounts []Mount MaskedPaths []s ReadonlyPaths []s Init *b
LogConfig container.LogConfig
Type s Config {}s
PortBinding nat.PortBinding
HostIP<HostIp s HostPort s
RestartPolicy container.RestartPolicy
Name s MaximumRetryCount i
Resources container.Resources
CPUShares<CpuShares i Memory i NanoCPUs<NanoCpus i CgroupParent s BlkioWeight i BlkioWeightDevice []*WeightDevice BlkioDeviceReadBps []*ThrottleDevice BlkioDeviceWriteBps []*ThrottleDevice BlkioDeviceReadIOps []*ThrottleDevice BlkioDeviceWriteIOps []*ThrottleDevice CPUPeriod<CpuPeriod i CPUQuota<CpuQuota i CPURealtimePeriod<CpuRealtimePeriod i CPURealtimeRuntime<CpuRealtimeRuntime i CpusetCpus s CpusetMems s Devices []DeviceMapping DeviceCgroupRules []s DeviceRequests []DeviceRequest KernelMemory i KernelMemoryTCP i MemoryReservation i MemorySwap i MemorySwappiness *i OomKillDisable *b PidsLimit *i Ulimits []*Ulimit CPUCount<CpuCount i CPUPercent<CpuPercent i IOMaximumIOps i IOMaximumBandwidth i
WeightDevice blkiodev.WeightDevice
Path s Weight i
ThrottleDevice blkiodev.ThrottleDevice
Path s Rate i
DeviceMapping container.DeviceMapping
PathOnHost s PathInContainer s CgroupPermissions s
DeviceRequest container.DeviceRequest
Driver s Count i DeviceIDs []s Capabilities [][]s Options {}s
Ulimit units.Ulimit
Name s Hard i Soft i
Mount mount.Mount
Type s Source s Target s ReadOnly b Consistency s BindOptions *BindOptions VolumeOptions *VolumeOptions ImageOptions *ImageOptions TmpfsOptions *TmpfsOptions ClusterOptions *ClusterOptions
BindOptions mount.BindOptions
Propagation s NonRecursive b CreateMountpoint b ReadOnlyNonRecursive b ReadOnlyForceRecursive b
VolumeOptions mount.VolumeOptions
NoCopy b Labels {}s Subpath s DriverConfig *DriverConfig
DriverConfig mount.Driver
Name s Options {}s
ImageOptions mount.ImageOptions
Subpath s
TmpfsOptions mount.TmpfsOptions
SizeBytes i Mode i Options [][]s
ClusterOptions mount.ClusterOptions
-
NetworkSettings container.NetworkSettings
@NetworkSettingsBase @DefaultNetworkSettings Networks {}*EndpointSettings
NetworkSettingsBase container.NetworkSettingsBase
Bridge s SandboxID s SandboxKey s Ports {}[]PortBinding HairpinMode b LinkLocalIPv6Address s LinkLocalIPv6PrefixLen i SecondaryIPAddresses []Address SecondaryIPv6Addresses []Address
DefaultNetworkSettings container.DefaultNetworkSettings
EndpointID s Gateway s GlobalIPv6Address s GlobalIPv6PrefixLen i IPAddress s IPPrefixLen i IPv6Gateway s MacAddress s
Address network.Address
Addr s PrefixLen i
EndpointSettings network.EndpointSettings
IPAMConfig *EndpointIPAMConfig Links []s Aliases []s MacAddress s DriverOpts {}s GwPriority i NetworkID s EndpointID s Gateway s IPAddress s IPPrefixLen i IPv6Gateway s GlobalIPv6Address s GlobalIPv6PrefixLen i DNSNames []s
EndpointIPAMConfig network.EndpointIPAMConfig
IPv4Address s IPv6Address s LinkLocalIPs []s
";

const IMAGE: &str = "
Image image.InspectResponse
ID<Id s RepoTags []s RepoDigests []s Parent s Comment s Created s DockerVersion s Author s Config *Config Architecture s Variant s Os s OsVersion s Size i VirtualSize i GraphDriver Driver RootFS RootFS Metadata Metadata Descriptor *Descriptor Manifests []a
Config v1.DockerOCIImageConfig
@ImageConfig @DockerOCIImageConfigExt
ImageConfig v1.ImageConfig
User s ExposedPorts {}= Env []s Entrypoint []s Cmd []s Volumes {}= WorkingDir s Labels {}s StopSignal s ArgsEscaped b
DockerOCIImageConfigExt v1.DockerOCIImageConfigExt
Healthcheck *HealthConfig OnBuild []s Shell []s
HealthConfig v1.HealthcheckConfig
Test []s Interval d Timeout d StartPeriod d StartInterval d Retries i
Driver storage.DriverData
Data {}s Name s
RootFS image.RootFS
Type s Layers []s
Metadata image.Metadata
LastTagTime t
Descriptor v1.Descriptor
MediaType<mediaType s Digest<digest s Size<size i URLs<urls []s Annotations<annotations {}s
";

const NETWORK: &str = "
Network network.Inspect
Name s ID<Id s Created t Scope s Driver s EnableIPv4 b EnableIPv6 b IPAM IPAM Internal b Attachable b Ingress b ConfigFrom ConfigReference ConfigOnly b Containers {}Endpoint Options {}s Labels {}s Peers []Peer Services {}Service
IPAM network.IPAM
Driver s Options {}s Config []Block
Block network.IPAMConfig
Subnet s IPRange s Gateway s AuxAddress<AuxiliaryAddresses {}s
ConfigReference network.ConfigReference
Network s
Endpoint network.EndpointResource
Name s EndpointID s MacAddress s IPv4Address s IPv6Address s
Peer network.PeerInfo
Name s IP s
Service network.ServiceInfo
VIP s Ports []s LocalLBIndex i Tasks []Task
Task network.Task
Name s EndpointID s EndpointIP s Info {}s
";

const VOLUME: &str = "
Volume volume.Volume
ClusterVolume *ClusterVolume CreatedAt s Driver s Labels {}s Mountpoint s Name s Options {}s Scope s Status {}a UsageData *UsageData
ClusterVolume volume.ClusterVolume
ID s
UsageData volume.UsageData
RefCount i Size i
";

const INFO: &str = "
Info system.dockerInfo
@*Server ServerErrors []s @*Client
Server system.Info
ID s Containers i ContainersRunning i ContainersPaused i ContainersStopped i Images i Driver s DriverStatus [][]s SystemStatus [][]s Plugins Plugins MemoryLimit b SwapLimit b KernelMemory b KernelMemoryTCP b CPUCfsPeriod<CpuCfsPeriod b CPUCfsQuota<CpuCfsQuota b CPUShares b CPUSet b PidsLimit b IPv4Forwarding b Debug b NFd i OomKillDisable b NGoroutines i SystemTime s LoggingDriver s CgroupDriver s CgroupVersion s NEventsListener i KernelVersion s OperatingSystem s OSVersion s OSType s Architecture s IndexServerAddress s RegistryConfig *RegistryConfig NCPU i MemTotal i GenericResources []a DockerRootDir s HTTPProxy<HttpProxy s HTTPSProxy<HttpsProxy s NoProxy s Name s Labels []s ExperimentalBuild b ServerVersion s Runtimes {}Runtime DefaultRuntime s Swarm Swarm LiveRestoreEnabled b Isolation s InitBinary s ContainerdCommit Commit RuncCommit Commit InitCommit Commit SecurityOptions []s ProductLicense s DefaultAddressPools []AddressPool FirewallBackend *Firewall CDISpecDirs []s DiscoveredDevices []a Containerd *Containerd Warnings []s
Plugins system.PluginsInfo
Volume []s Network []s Authorization []s Log []s
RegistryConfig registry.ServiceConfig
AllowNondistributableArtifactsCIDRs []s AllowNondistributableArtifactsHostnames []s InsecureRegistryCIDRs []s IndexConfigs {}*Index Mirrors []s
Index registry.IndexInfo
Name s Mirrors []s Secure b Official b
Runtime system.RuntimeWithStatus
Path<path s Args<runtimeArgs []s Type<runtimeType s Options<options {}a Status<status {}s
Swarm swarm.Info
NodeID s NodeAddr s LocalNodeState s ControlAvailable b Error s RemoteManagers []a Nodes i Managers i Cluster *a Warnings []s
Commit system.Commit
ID s
AddressPool system.NetworkAddressPool
Base s Size i
Firewall system.FirewallInfo
Driver s Info [][]s
Containerd system.ContainerdInfo
Address s Namespaces Namespaces
Namespaces system.ContainerdNamespaces
Containers s Plugins s
Client system.clientInfo
ClientInfo *ClientInfo
ClientInfo system.clientInfo
Debug b @ClientVersion Plugins []a Warnings []s
ClientVersion system.clientVersion
Platform *VersionPlatform Version s APIVersion<ApiVersion s DefaultAPIVersion s GitCommit s GoVersion s Os s Arch s BuildTime s Context s
VersionPlatform struct
Name s
";

const VERSION: &str = "
Version system.versionInfo
Client Client Server *Server
Client system.clientVersion
Platform *Platform Version s APIVersion<ApiVersion s DefaultAPIVersion s GitCommit s GoVersion s Os s Arch s BuildTime s Context s
Platform struct
Name s
Server types.Version
Platform Platform Components []Component Version s APIVersion<ApiVersion s MinAPIVersion s GitCommit s GoVersion s Os s Arch s KernelVersion s Experimental b BuildTime s
Component types.ComponentVersion
Name s Version s Details {}s
";

const CONTEXT: &str = "
Context context.contextWithTLSListing
@Metadata TLSMaterial {}[]s Storage Storage
Metadata context.Metadata
Name s Metadata DockerContext Endpoints {}Endpoint
DockerContext command.DockerContext
Description s AdditionalFields {}a
Endpoint docker.EndpointMeta
Host s SkipTLSVerify b
Storage context.storageInfo
MetadataPath s TLSPath s
";

const EVENT: &str = "
Event events.Message
Status<status s ID<id s From<from s Type s Action s Actor Actor Scope<scope s Time<time i TimeNano<timeNano i
Actor events.Actor
ID s Attributes {}s
";
