/** The producer function: a call's records and deletes become deltas on S3 (lib/engine/write/produce.ts). */
import { parseEnvironment } from "../../lib/aws/environment.ts";
import { firstProblems, lambdaHandler } from "../../lib/aws/lambda-handler.ts";
import { parseEvent } from "../../lib/aws/parse-event.ts";
import { producerWorld } from "../../lib/aws/producer-world.ts";
import { telemetry } from "../../lib/aws/telemetry.ts";
import { type Problem, SiltstoneError } from "../../lib/core/model/errors.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { producerEvent } from "./event.ts";

const environment = parseEnvironment(process.env);
const world = producerWorld(environment);
const service = telemetry({ ...environment, service: "producer" });

export const handler = lambdaHandler(
  { telemetry: service, failureMetric: "ProduceErrors" },
  async (event) => {
    const call = parseEvent(producerEvent, event);
    try {
      const { rejected, ...answer } = await produce(world, { ...call, producer: "producer-function" });
      service.emit(call.collection, {
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

/** Records and deletes that have a problem; one may have several. */
const recordsOf = (problems: readonly Problem[]): number =>
  new Set(
    problems
      .filter(({ index }) => index !== undefined)
      .map(({ field, index }) => (/^deletes\b/.test(field) ? `deletes.${index}` : index)),
  ).size;
