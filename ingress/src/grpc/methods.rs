//! The methods that the server serves, by their paths: the only ones that become names of spans and
//! labels of metrics. What a caller makes up is `_OTHER`, whatever it is answered.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use observability::spans::OTHER;
use prost::Message as _;
use prost_types::FileDescriptorSet;

/// `package.Service/Method` of a request's path, when it is served; else `_OTHER`.
pub(super) fn served(path: &str) -> &'static str {
    static SERVED: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        [
            proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ]
        .into_iter()
        .flat_map(methods)
        .collect()
    });
    SERVED.get(path.trim_start_matches('/')).map_or(OTHER, String::as_str)
}

fn methods(descriptors: &[u8]) -> Vec<String> {
    // What is compiled in can be read: a test asks for each of them.
    let files = FileDescriptorSet::decode(descriptors).unwrap_or_default().file;
    let services = files.iter().flat_map(|file| file.service.iter().map(move |of| (file, of)));
    services
        .flat_map(|(file, service)| {
            let name = format!("{}.{}", file.package(), service.name());
            service.method.iter().map(move |method| format!("{name}/{}", method.name()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_has_its_name_and_what_is_made_up_has_none() {
        for path in [
            "posthorn.v1.PaymentService/Create",
            "posthorn.v1.EndpointService/Redeliver",
            "posthorn.v1.MerchantService/Create",
            "grpc.health.v1.Health/Watch",
            "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ] {
            assert_eq!(served(&format!("/{path}")), path);
        }
        for path in ["", "/", "/posthorn.v1.PaymentService/Made", "/a/b/posthorn.v1.X/Create"] {
            assert_eq!(served(path), OTHER);
        }
    }
}
