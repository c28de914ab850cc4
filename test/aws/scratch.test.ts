/** What a killed process left in a function's /tmp goes at its next start; on any other machine /tmp is shared, and nothing goes. */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import { join } from "node:path";

const folder = mkdtempSync(join(os.tmpdir(), "scratch-"));
jest.doMock("node:os", () => ({ ...os, tmpdir: () => folder }));
const { clearScratch } = require("../../lib/aws/scratch.ts") as typeof import("../../lib/aws/scratch.ts");
afterAll(() => rmSync(folder, { recursive: true }));

test.each([
  [{ AWS_LAMBDA_RUNTIME_API: "127.0.0.1:9001" }, false],
  [{ AWS_LAMBDA_FUNCTION_NAME: "query" }, true],
])("with %p, what siltstone left there stays: %p", (variables, stays) => {
  for (const name of ["siltstone-a/b", "other"]) mkdirSync(join(folder, name), { recursive: true });
  clearScratch(variables);
  expect(existsSync(join(folder, "siltstone-a"))).toBe(stays);
  expect(existsSync(join(folder, "other"))).toBe(true);
});
