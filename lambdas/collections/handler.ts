/**
 * The collections function: creates a collection (lib/engine/catalog/collections.ts), for who may invoke it, and for a stack that declares
 * one. A stack never changes or deletes a collection: one that differs from what is there fails, and one that is declared no more
 * stays.
 */
import { awsWorld } from "../../lib/aws/aws-world.ts";
import { parseEnvironment } from "../../lib/aws/environment.ts";
import { lambdaHandler } from "../../lib/aws/lambda-handler.ts";
import { answerStack, isStackEvent, type StackEvent } from "../../lib/aws/stack-event.ts";
import { errorFacts, telemetry } from "../../lib/aws/telemetry.ts";
import type { CollectionOptions } from "../../lib/core/model/collection.ts";
import { SiltstoneError } from "../../lib/core/model/errors.ts";
import { requestBounds } from "../../lib/core/policy/time-bounds.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { collectionOfStack, parseCollection } from "./event.ts";

const environment = parseEnvironment(process.env);
const world = awsWorld(environment, requestBounds.producer);
const service = telemetry({ ...environment, service: "collections" });

async function create(options: CollectionOptions): Promise<object> {
  const { collection, created } = await createCollection(world, options);
  if (created) service.log("info", "created", { collection: collection.name });
  return { created, collection };
}

const byCall = lambdaHandler({ telemetry: service, failureMetric: null }, (call) =>
  create(parseCollection(call)),
);

export const handler: typeof byCall = async (event, context) =>
  isStackEvent(event) ? byStack(event) : byCall(event, context);

/** Lambda repeats an invocation that could not tell the stack. */
const byStack = async (event: StackEvent): Promise<void> => answerStack(event, await outcomeOf(event));

async function outcomeOf(event: StackEvent): Promise<Parameters<typeof answerStack>[1]> {
  // What is declared no more is left alone; so is what a failed declaration left.
  if (event.RequestType === "Delete") return { name: event.PhysicalResourceId };
  try {
    const options = collectionOfStack(event);
    await create(options);
    return { name: options.name };
  } catch (error) {
    service.log("error", "not created", errorFacts(error));
    const reason =
      error instanceof SiltstoneError ? error.message : "internal error; the function's log has it";
    return { name: event.PhysicalResourceId, failure: reason };
  }
}
