/** JSON that users give to the command line, from others' hands: what is too deep is refused as bad input, and no defect. */
import { MemoryCli } from "../cli/memory-deployment.ts";

const cli = new MemoryCli();
beforeAll(() => cli.run(["collection", "create", "docs", "--dims", "2", "--field", "kind:string"]));
afterAll(() => cli.close());

const lists = (levels: number) => "[".repeat(levels) + "]".repeat(levels);
const objects = (levels: number) => `${'{"a":'.repeat(levels)}1${"}".repeat(levels)}`;

test.each([lists(2_000_000), objects(100_000), `{"id":"a","vector":[1,2],"metadata":${objects(10_000)}}`])(
  "silt put: nested too deep, in whatever",
  async (stdin) => {
    const { code, err } = await cli.run(["put", "docs"], { stdin });
    expect([code, err]).toEqual([
      2,
      expect.stringMatching(/^error \(invalid\): body: nested deeper than 34/),
    ]);
  },
);

test.each([
  ["--filter", objects(5_000)],
  ["--vector", lists(5_000)],
])("silt query %s: nested too deep", async (option, text) => {
  const { code, err } = await cli.run(["query", "docs", "--vector", "[1,2]", option, text]);
  expect([code, err]).toEqual([2, expect.stringContaining("nested deeper than 34 levels")]);
});
