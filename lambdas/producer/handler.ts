/** The producer function: a call's records and deletes become deltas on S3 (lib/engine/write/produce.ts). */
import { parseEnvironment } from "../../lib/aws/environment.ts";
import { jobWorld } from "../../lib/aws/job-world.ts";
import { firstProblems, lambdaHandler } from "../../lib/aws/lambda-handler.ts";
import { parseEvent } from "../../lib/aws/parse-event.ts";
import { producerWorld } from "../../lib/aws/producer-world.ts";
import { telemetry } from "../../lib/aws/telemetry.ts";
import { invalid, type Problem, SiltstoneError } from "../../lib/core/model/errors.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { saveItems } from "../../lib/jobs/save.ts";
import { type ProducerCall, producerEvent } from "./event.ts";

const environment = parseEnvironment(process.env);
const world = producerWorld(environment);
const jobs = jobWorld(environment, world);
const service = telemetry({ ...environment, service: "producer" });

export const handler = lambdaHandler(
  { telemetry: service, failureMetric: "ProduceErrors" },
  async (event) => {
    const { items, priority, ...call } = parseEvent(producerEvent, event);
    if (items !== undefined) return save({ ...call, items, priority });
    if (priority !== undefined) throw invalid("priority: is of items; records have none");
    try {
      const { rejected, ...answer } = await produce(world, { ...call, producer: "producer-function" });
      service.emit(answer.alias?.collection ?? call.collection, {
        DeltasCreated: answer.deltas.length,
        RecordsWritten: answer.written + answer.deleted,
        RecordsRejected: recordsOf(rejected),
      });
      if (!answer.notified) service.log("warn", "queue not told", { collection: call.collection });
      // The write has happened: its answer must never be too large to give.
      const { problems, omitted } = firstProblems(rejected);
      return { ...answer, rejected: problems, ...(omitted > 0 ? { rejectedOmitted: omitted } : {}) };
    } catch (error) {
      const rejected = error instanceof SiltstoneError ? recordsOf(error.problems) : 0;
      if (rejected > 0) service.emit(call.collection, { RecordsRejected: rejected });
      throw error;
    }
  },
);

/** Texts are saved, and embedded later (lib/jobs/save.ts). */
async function save({ records, deletes, onInvalid, ...call }: ProducerCall): Promise<object> {
  if (records !== undefined || deletes !== undefined || onInvalid !== undefined)
    throw invalid("items: are a call of their own, without records, deletes and onInvalid");
  if (environment.jobQueueUrls.length === 0)
    throw invalid(
      "items: this store does not embed items; deploy it with the prop `embedding` (docs/jobs.md)",
    );
  const answer = await saveItems(jobs, { ...call, items: call.items });
  const saved = answer.items.filter(({ outcome }) => outcome === "saved").length;
  service.emit(call.collection, { ItemsSaved: saved });
  if (!answer.notified) service.log("warn", "queue not told", { collection: call.collection });
  return answer;
}

/** Records and deletes that have a problem; one may have several. */
const recordsOf = (problems: readonly Problem[]): number =>
  new Set(
    problems
      .filter(({ index }) => index !== undefined)
      .map(({ field, index }) => (/^deletes\b/.test(field) ? `deletes.${index}` : index)),
  ).size;
