/** Every alarm goes off for the failure that it is for, and none in a healthy store (alarm-watch.ts, alarm-failures.ts). */
import type { CfnAlarm } from "aws-cdk-lib/aws-cloudwatch";
import { type AlarmName, alarmNames } from "../../lib/contract/alarms.ts";
import { type MetricName, type MetricRow, metrics } from "../../lib/contract/metrics.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { samplesOf } from "../support/cloudwatch.ts";
import { failures } from "./alarm-failures.ts";
import { scaled, Watch, watched } from "./alarm-watch.ts";
import { Deployed, dims } from "./deployed.ts";

jest.setTimeout(300_000);
const deployed = new Deployed();
let watch: Watch;

beforeAll(async () => {
  await deployed.start(null, {
    queryGroups: 2,
    providers: {},
    add: (store) => {
      for (const [name, threshold] of Object.entries(scaled))
        (store.monitoring.alarms[name as AlarmName]!.node.defaultChild as CfnAlarm).threshold = threshold;
    },
  });
  watch = new Watch(deployed);
  await createCollection(deployed.world, { name: watched, dims, metric: "cosine", shards: 2 });
});
afterAll(async () => {
  await deployed.stop();
  deployed.remove();
  watch?.destroy();
});

test("in a healthy store no alarm goes off", async () => {
  expect(await watch.alarmsAfter(watch.healthy, "deployed")).toEqual([]);
});

const driven = new Set<AlarmName>();
for (const failure of failures)
  test(`${failure.title}: ${failure.alarms.join(", ")}`, async () => {
    await failure.breaks?.(watch);
    const on = await watch.alarmsAfter((round) => failure.round(watch, round));
    if (failure.alarms.includes("NoSuccessfulRun")) expect(on).toEqual(failure.alarms);
    expect(on).toEqual(expect.arrayContaining([...failure.alarms]));
    for (const name of failure.alarms) driven.add(name);
    await failure.passes?.(watch);
    await failure.mends?.(watch);
  });

test("every metric came from the function that the table says, over the dimensions that it says", () => {
  const odd = (["producer", "compactor", "query"] as const).flatMap((function_) =>
    deployed
      .log(function_)
      .split("\n")
      .flatMap(samplesOf)
      .filter(({ name, dimensions }) => {
        const row: MetricRow | undefined = metrics[name as MetricName];
        const isOwn = row?.emittedBy === function_ || row?.emittedBy === "every function";
        const isOfStore = Object.keys(dimensions).join() === "store";
        return (
          !isOwn ||
          !(isOfStore || (row.ofCollection && Object.keys(dimensions).join() === "store,collection"))
        );
      }),
  );
  expect(odd).toEqual([]);
});

test("every alarm was seen to go off", () => {
  expect([...driven].sort()).toEqual([...alarmNames].sort());
});
