# One Worker on a free loopback port. The test puts authority.pem beside this file.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "api", worker = .api),
    # The network behind `fetch`. By default workerd trusts the system's authorities and reaches public addresses only.
    (name = "internet", network = (
      allow = ["local"],
      tlsOptions = (trustedCertificates = [embed "authority.pem"]),
    )),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "api")],
);

const api :Workerd.Worker = (
  modules = [(name = "worker.mjs", esModule = embed "worker.mjs")],
  # The earliest date that docs/calling-from-cloudflare-workers.md allows.
  compatibilityDate = "2024-09-02",
  bindings = [
    (name = "ENCLAVE_BASE_URL", fromEnvironment = "ENCLAVE_BASE_URL"),
    (name = "INTERNAL_API_KEY", fromEnvironment = "INTERNAL_API_KEY"),
    (name = "TICKET_SIGNING_SECRET", fromEnvironment = "TICKET_SIGNING_SECRET"),
  ],
);
