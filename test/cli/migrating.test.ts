/** The guides for those whose texts were embedded by other means: their commands run, and their code saves what it says. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { jobsOver } from "../../lib/clients/jobs.ts";
import { documentedCommands } from "../import/documented-commands.ts";
import { MemoryCli } from "./memory-deployment.ts";
import { workAll } from "./work-all.ts";

const home = process.cwd();
let cli: MemoryCli;
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "siltstone-migrating-"));
  process.chdir(folder);
  cli = new MemoryCli();
  // Who waits, waits for workers.
  cli.world.clock.onSleep = async (ms) => {
    cli.world.clock.advance(ms);
    await workAll(cli);
  };
});
afterEach(async () => {
  process.chdir(home);
  rmSync(folder, { recursive: true });
  await cli.close();
});

type Saver = (given: unknown) => Promise<unknown>;

/** The functions that the guide's code has, over this deployment. */
function codeOf(guide: string): Record<string, Saver> {
  const text = readFileSync(join(home, "docs/migrating", guide), "utf8");
  const [, code] = /```js\n([\s\S]*?)```/.exec(text)!;
  expect(code).toContain('import { createJobs } from "siltstone/jobs";');
  const names = [...code!.matchAll(/^export const (\w+)/gm)].map(([, name]) => name!);
  const plain = code!.replace(/^import .*\n/gm, "").replaceAll(/^export /gm, "");
  const make = new Function("createJobs", `${plain}\nreturn { ${names.join(", ")} };`);
  return make(() => jobsOver(cli.jobs)) as Record<string, Saver>;
}

const texts = (count: number) =>
  Array.from({ length: count }, (_, n) => ({
    ...{
      id: `a${n}`,
      body: `the body of article ${n}`,
      text: `the text of message ${n}`,
      lang: "en",
      kind: "note",
    },
  }));

const guides: Readonly<Record<string, (code: Record<string, Saver>) => Promise<void>>> = {
  "synchronous-embedder.md": async ({ saveArticle, deleteArticle, saveAll }) => {
    await saveAll!(texts(20));
    await saveArticle!({ id: "a3", body: "another body", lang: "de" });
    await deleteArticle!({ id: "a4" });
    // From the beginning, as after a failure.
    expect(await saveAll!(texts(3))).toMatchObject({ items: [{ outcome: "unchanged" }, {}, {}] });
  },
  "cloudflare-queue-worker.md": async ({ send, sendBatch }) => {
    await send!(texts(1)[0]);
    await sendBatch!(texts(19));
  },
  "sqlite-queue.md": async ({ saveRows }) => {
    await saveRows!(texts(19).map((row, n) => ({ ...row, id: n })));
  },
};

test.each(Object.entries(guides))(
  "the code and the commands of docs/migrating/%s do what they say",
  async (guide, saveTexts) => {
    const commands = documentedCommands(`migrating/${guide}`);
    expect(commands.length).toBeGreaterThan(6);
    for (const [at, args] of commands.entries()) {
      const said = await cli.run(args);
      expect({ args, ...said }).toMatchObject({ args, code: 0 });
      if (args[0] === "collection") await saveTexts(codeOf(guide));
      if (args[0] === "embed-all" && args[2] === "analyze")
        expect(said.out).toMatch(/^with +19\n[\s\S]*^pending +0\n[\s\S]*nothing is to be embedded/m);
      if (args.includes("--confirm")) expect(said.out).toContain("embedded in the call from now on");
      expect(at).toBeLessThan(50);
    }
  },
);

test("each guide is named where guides are looked for", () => {
  const readme = readFileSync(join(home, "README.md"), "utf8");
  const jobs = readFileSync(join(home, "docs/jobs.md"), "utf8");
  for (const guide of Object.keys(guides)) {
    expect(readme).toContain(`migrating/${guide}`);
    expect(jobs).toContain(`migrating/${guide}`);
  }
});
