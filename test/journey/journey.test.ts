/**
 * Seen to hold, from an empty folder: the packed package is installed, an app of one's own is deployed on the local stack, writes and asks; then
 * each thing that has an alarm is broken, the alarm is read by `silt doctor`, the runbook is followed where its description points, by the
 * runbook's own commands, and the store is well again. `npm run journey`; a part of `npm run test:wide`.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type AlarmName, alarmNames, alarms, runbookAnchor } from "../../lib/contract/alarms.ts";
import { type FunctionName, functionNames, functions } from "../../lib/contract/functions.ts";
import { readCollection, readHead } from "../../lib/engine/shard/head.ts";
import { type Failure, failures } from "../e2e/alarm-failures.ts";
import { scaled, Watch, watched } from "../e2e/alarm-watch.ts";
import { Deployed, dims, vectorOf } from "../e2e/deployed.ts";
import { Stranger, stackSource, upstreamSource, writeUpstream } from "../package/stranger.ts";
import { Operator } from "../runbook/operator.ts";
import { type PartName, partNames, Runbook, type Said } from "../runbook/runbook.ts";
import { CloudFormationServer } from "../support/cloudformation.ts";
import { CloudWatchServer } from "../support/cloudwatch-server.ts";

const wide = process.env.WIDE === "1" ? describe : describe.skip;
jest.setTimeout(600_000);

const [, , look, mend, mended] = partNames;
/** What `--confirm` asks for: the stack by which the store is found. */
const STAGE = "AppStack";
const stranger = new Stranger();
const deployed = new Deployed();
const cloudFormation = new CloudFormationServer();
const cloudWatch = new CloudWatchServer("us-east-1", () => deployed.stack.access);
const operator = new Operator(() => deployed.stack, silt);
const runbook = new Runbook(operator.execute);
const one = join(stranger.folder, "one.jsonl");
let watch: Watch;

/** The package's own, in a process of its own, over the protocols of AWS alone. */
async function silt(args: readonly string[]): Promise<Omit<Said, "command">> {
  serveLogs();
  return stranger.tell("node", [stranger.bin("silt"), ...args], {
    ...deployed.stack.environment,
    AWS_ENDPOINT_URL_CLOUDFORMATION: cloudFormation.endpoint,
    AWS_ENDPOINT_URL_CLOUDWATCH: cloudWatch.endpoint,
    AWS_ENDPOINT_URL_CLOUDWATCH_LOGS: cloudWatch.endpoint,
    SILTSTONE_STACK: STAGE,
  });
}

function serveLogs(): void {
  for (const name of functionNames) {
    const group = deployed.stack.outputs[functions[name].logOutput]!;
    const events = deployed
      .log(name as Exclude<FunctionName, "collections">)
      .split("\n")
      .filter((line) => line !== "")
      .slice(-50)
      .map((message, n) => ({ eventId: String(n), timestamp: Date.now() - 1_000, message }));
    cloudWatch.events.set(group, events);
  }
}

function serveAlarms(on: readonly AlarmName[]): void {
  cloudWatch.alarms = [...watch.alarms].map(([name, alarm]) => ({
    ...alarm,
    ...(on.includes(name)
      ? { StateValue: "ALARM" as const, StateReason: "Threshold Crossed" }
      : { StateValue: "OK" as const, StateReason: "" }),
  }));
}

beforeAll(async () => {
  if (process.env.WIDE !== "1") return;
  await stranger.prepare();
  const thresholds = Object.entries(scaled).map(([name, threshold]) => [name, { threshold }]);
  const monitoring = JSON.stringify({ alarms: Object.fromEntries(thresholds) });
  const collection = JSON.stringify({ dims, metric: "cosine", shards: 2 });
  stranger.write(
    "lib/app-stack.ts",
    stackSource(
      `query: { groups: 2 }, embedding: {}, monitoring: ${monitoring}`,
      `store.grantProduce(upstream); store.addCollection('${watched}', ${collection});`,
    ),
  );
  stranger.write("lambda/upstream.ts", upstreamSource);
  await deployed.start(null, { synthesis: await stranger.synthesize("AppStack") });
  operator.deploys = () => deployed.stack.deploy(deployed.synthesis);
  watch = new Watch(deployed);
  await Promise.all([cloudFormation.start(), cloudWatch.start()]);
  cloudFormation.stacks = [{ name: "AppStack", outputs: deployed.stack.outputs }];
  writeFileSync(one, JSON.stringify({ id: "r99", vector: vectorOf(99) }));
});
afterAll(async () => {
  watch?.destroy();
  await deployed.stop();
  deployed.remove();
  cloudFormation.stop();
  cloudWatch.stop();
  stranger.remove();
});

const well = (said: readonly Said[]) => expect(said.filter(({ code }) => code !== 0)).toEqual([]);

/** Follows the runbook for one failure: the words in capitals are what its operator has seen. */
class Follower {
  readonly #title: string;
  readonly #collection: string;

  constructor(title: string, { collection = watched }: Failure) {
    this.#title = title;
    this.#collection = collection;
  }

  async run(part: PartName, values: Readonly<Record<string, string>> = {}, only = /^/, title = this.#title) {
    const known = {
      ...{ NAME: this.#collection, SHARD: "0", STAGE, BUCKET: deployed.output("bucket"), FILE: one },
      ...{ MIB: "3008", DISK: "4096", CACHE: "1000", GROUPS: "2", CONCURRENCY: "5", ID: "r1" },
    };
    const said = await runbook.run(title, part, { ...known, ...values }, only);
    return { said, text: said.map(({ out, err }) => out + err).join("\n") };
  }
  async runWell(...args: Parameters<Follower["run"]>) {
    const walked = await this.run(...args);
    well(walked.said);
    return walked;
  }

  /** The damaged version of each object goes, and the marker under it. */
  async takeBack(keys: readonly string[]): Promise<void> {
    for (const KEY of keys) {
      const { text } = await this.run(look, { KEY }, /list-object-versions/, corrupt);
      const { Versions, DeleteMarkers } = JSON.parse(text) as Record<
        string,
        { VersionId: string; IsLatest: boolean }[]
      >;
      const [latest] = Versions!.filter(({ IsLatest }) => IsLatest);
      const values = { KEY, DAMAGED: latest!.VersionId, MARKER: DeleteMarkers![0]!.VersionId };
      await this.runWell(mend, values, /delete-object/, corrupt);
    }
  }
}
const corrupt = "Corrupt: an object is not what it should be";

/** What an operator does beside the commands as they stand, by the section that the alarm's description names. */
const ways: Readonly<Record<string, (by: Follower, failure: Failure) => Promise<void>>> = {
  "Compaction fails": async (by, { collection }) => {
    const seen = await by.run(look);
    if (collection !== undefined) {
      expect(seen.text).toContain(`${collection}/collection.json`);
      await by.runWell(mend, {}, /collection delete/, corrupt);
    }
    await by.runWell(mend);
  },
  "Failed events": async (by) => {
    const { text } = await by.runWell(look, {}, /list/);
    const ID = /^([0-9a-f-]{36}) /m.exec(text)![1]!;
    await by.runWell(look, { ID }, /show/);
    await by.runWell(mend);
  },
  "Backlog: it grows, or its oldest delta is old": async (by, { collection }) => {
    expect((await by.run(look)).text).toMatch(new RegExp(`${collection}/0 .* 3 `));
    await by.takeBack(await deployed.keys(`${collection}/0/deltas/`));
    await by.runWell(mend);
  },
  "Stuck lease": async (by) => {
    const release = /--shard (\d+) --kind (\w+) --owner (\S+) --epoch (\d+)/;
    for (let held = 0; held < 2; held++) {
      const { text } = await by.runWell(look);
      const [, SHARD = "", KIND = "", OWNER = "", EPOCH = ""] = release.exec(text) ?? [];
      expect(OWNER).toBe("stuck");
      await by.runWell(mend, { SHARD, KIND, OWNER, EPOCH });
    }
  },
  Quarantine: async (by, { collection = watched }) => {
    const { text } = await by.runWell(look, {}, /list/);
    const held = new Set([...text.matchAll(/[0-9A-HJKMNP-TV-Z]{26}/g)].map(([DELTA]) => DELTA));
    expect(held.size).toBe(3);
    for (const DELTA of held) {
      await by.runWell(look, { DELTA }, /show/);
      const copies = await deployed.keys(`${collection}/`);
      const SHARD = copies.find((key) => key.endsWith(`/quarantine/${DELTA}.arrow`))!.split("/")[1]!;
      const versions = await by.runWell(mend, { DELTA, SHARD }, /list-object-versions/);
      const { Versions } = JSON.parse(versions.text) as { Versions: { VersionId: string }[] };
      const VERSION = Versions.at(-1)!.VersionId;
      await by.runWell(mend, { DELTA, SHARD, VERSION }, /copy-object|retry|compact/);
    }
  },
  "Dead letters": async (by) => {
    const { text } = await by.runWell(look, {}, /list/);
    await by.runWell(look, { ID: /^([0-9a-f-]{36}) /m.exec(text)![1]! }, /show/);
    await by.runWell(mend, {}, /purge/);
  },
  [corrupt]: async (by, { collection }) => {
    const seen = await by.run(look, { KEY: `${collection}/` });
    const damaged = /\S+\/manifests\/\S+?\.json/.exec(seen.text)![0];
    await by.takeBack([damaged]);
  },
  "Storage grows": async (by) => {
    const { store } = deployed.world;
    const { manifest } = await readHead(store, await readCollection(store, watched), 0);
    const pin = ["snapshot", "pin", watched, String(manifest.version), "--shard", "0", "--as", "old"];
    well([{ command: pin.join(" "), ...(await silt(pin)) }]);
    expect((await by.runWell(look)).text).toContain("pin old");
    await by.runWell(mend, { PIN: "old" });
  },
};
const asItStands = async (by: Follower): Promise<void> => {
  await by.run(look);
  await by.runWell(mend);
};

wide("from an empty folder", () => {
  test("the app's function writes, and the package's command line compacts and finds it", async () => {
    const records = [1, 2].map((n) => ({ id: `r${n}`, vector: vectorOf(n), document: `text ${n}` }));
    expect(await writeUpstream(deployed.stack, { collection: watched, records })).toMatchObject({
      ...{ written: 2, notified: true },
    });
    well([{ command: "compact", ...(await silt(["compact", watched])) }]);
    const { code, out } = await silt(["query", watched, "--id", "r1", "--json"]);
    expect([code, JSON.parse(out).results[0].id]).toEqual([0, "r1"]);
  });

  test("in health no alarm is on, and the doctor finds nothing", async () => {
    const on = await watch.alarmsAfter(watch.healthy, "deployed");
    expect(on).toEqual([]);
    serveAlarms(on);
    expect(await silt(["doctor"])).toMatchObject({ code: 0, err: "" });
  });

  const followed = new Set<AlarmName>();
  for (const failure of failures)
    test(`${failure.title}: ${failure.alarms.join(", ")}`, async () => {
      await failure.breaks?.(watch);
      const on = await watch.alarmsAfter((round) => failure.round(watch, round));
      expect(on).toEqual(expect.arrayContaining([...failure.alarms]));
      await failure.passes?.(watch);
      serveAlarms(failure.alarms);
      const { code, out } = await silt(["doctor", "--json"]);
      expect(code).not.toBe(0);
      const { findings } = JSON.parse(out) as { findings: { found: string; advice?: string[] }[] };
      const read = failure.alarms.map((name) => {
        const finding = findings.find(({ found }) => found.startsWith(`AppStack-Vectors-${name}: `));
        expect([name, finding?.advice?.join(" ")]).toEqual([
          name,
          expect.stringContaining(`docs/runbook.md#${runbookAnchor(alarms[name])}`),
        ]);
        followed.add(name);
        return alarms[name].runbook;
      });
      for (const title of new Set(read)) {
        const by = new Follower(title, failure);
        await (ways[title] ?? asItStands)(by, failure);
        await by.runWell(mended);
      }
    });

  test("every alarm was read and followed; all is well again", async () => {
    expect([...followed].sort()).toEqual([...alarmNames].sort());
    const on = await watch.alarmsAfter(watch.healthy, "deployed");
    expect(on).toEqual([]);
    serveAlarms(on);
    expect(await silt(["doctor"])).toMatchObject({ code: 0, err: "" });
    expect(await silt(["status"])).toMatchObject({ code: 0, err: "" });
  });
});
