// Jest runs the TypeScript sources through esbuild (TypeScript 7 has no compiler API for ts-jest).
export default {
  testEnvironment: "node",
  roots: ["<rootDir>/test"],
  testMatch: ["**/*.test.ts"],
  transform: { "\\.m?[jt]s$": "<rootDir>/test/support/esbuild-transform.cjs" },
  // Packages that ship only ES modules are transformed as well.
  transformIgnorePatterns: [],
  testTimeout: 30_000,
  maxWorkers: 2,
  globalSetup: "<rootDir>/test/support/global-setup.cjs",
  testSequencer: "<rootDir>/test/support/longest-first.cjs",
};
