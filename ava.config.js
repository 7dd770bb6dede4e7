export default {
  files: ["src/**/*.test.ts", "testbed/**/*.test.ts"],
  extensions: { ts: "module" },
  nodeArguments: ["--import=tsx"],
  timeout: "2m",
};
