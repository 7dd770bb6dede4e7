/** Who may import whom: docs/architecture.md. Types count as imports too. */
const base = "^src/base/";

/** A layer may import itself, base, and what is listed; nothing else of src. */
const layer = (name, allowed, comment) => ({
  name: `${name}-imports`,
  comment,
  severity: "error",
  from: { path: `^src/${name}/`, pathNot: "\\.test\\.ts$" },
  to: { path: "^src/", pathNot: [`^src/${name}/`, base, ...allowed] },
});

module.exports = {
  forbidden: [
    { name: "no-cycles", severity: "error", from: {}, to: { circular: true } },
    {
      name: "no-unlisted-packages",
      severity: "error",
      from: { path: "^src/" },
      to: { dependencyTypes: ["npm-no-pkg", "npm-unknown", "unknown"] },
    },
    {
      name: "no-development-packages",
      severity: "error",
      from: { path: "^src/", pathNot: "\\.test\\.ts$" },
      to: { dependencyTypes: ["npm-dev"], dependencyTypesNot: ["type-only"] },
    },
    {
      name: "src-knows-no-testbed",
      severity: "error",
      from: { path: "^src/" },
      to: { path: "^(testbed|scripts)/" },
    },
    layer("base", [], "base stands on nothing"),
    layer("gist", [], "GIST knows nothing of PBS and could serve another NSLP"),
    {
      name: "gist-ipc-imports",
      comment: "the service socket carries the service interface, whatever node stands behind it",
      severity: "error",
      from: { path: "^src/gist/ipc/", pathNot: "\\.test\\.ts$" },
      to: { path: "^src/", pathNot: ["^src/gist/ipc/", base, "^src/gist/service\\.ts$", "^src/gist/wire/"] },
    },
    {
      name: "gistd-knows-no-pbs",
      comment: "gistd serves any signalling application, so it contains none",
      severity: "error",
      from: { path: "^src/cli/(gistd|gistctl)\\.ts$" },
      to: { path: "^src/nslp/", reachable: true },
    },
    {
      name: "path-ping-knows-no-pbs",
      comment: "another signalling application: GIST as a service is all it sees",
      severity: "error",
      from: { path: "^testbed/programs/path-ping\\.ts$" },
      to: {
        path: "^(src|testbed)/",
        pathNot: [
          base,
          "^src/gist/ipc/client\\.ts$",
          "^src/gist/service\\.ts$",
          "^src/gist/wire/messages\\.ts$",
        ],
      },
    },
    layer("authorization", [], "decisions and keys do no network I/O"),
    {
      name: "authorization-is-offline",
      severity: "error",
      from: { path: "^src/authorization/", pathNot: "\\.test\\.ts$" },
      to: { path: "^(node:)?(net|dgram|tls|http|https|http2|dns)$" },
    },
    layer("traffic", [], "only traffic touches the kernel's packet path; it knows no signalling"),
    layer(
      "nslp",
      ["^src/authorization/", "^src/gist/service\\.ts$", "^src/gist/wire/", "^src/traffic/datapath\\.ts$"],
      "PBS sees GIST and the packet path through their interfaces alone",
    ),
    layer(
      "load",
      ["^src/gist/", "^src/nslp/", "^src/authorization/"],
      "a load plays whole hosts, in processes of its own; no daemon knows of it",
    ),
    layer("config", ["^src/authorization/", "^src/traffic/"], "config builds the typed input of the parts"),
    layer(
      "control",
      ["^src/nslp/", "^src/authorization/", "^src/traffic/", "^src/config/", "^src/gist/service\\.ts$"],
      "control shows and steers; it does not signal",
    ),
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    doNotFollow: { path: "node_modules" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "require", "node", "default", "types"],
    },
  },
};
