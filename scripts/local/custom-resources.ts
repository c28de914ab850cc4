/**
 * What a template declares as custom resources, made as CloudFormation makes it: the function that a resource names is
 * invoked with an event, and puts its answer to the event's URL. At every start all are created: those that are there say so.
 */
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { listen } from "./ports.ts";
import { guarded } from "./request-guard.ts";

export interface CustomResourceDefinition {
  readonly logicalId: string;
  readonly type: string;
  readonly functionName: string;
  readonly properties: Readonly<Record<string, unknown>>;
}

interface Answer {
  readonly Status: "SUCCESS" | "FAILED";
  readonly Reason?: string;
}

/** As CloudFormation takes it. */
const answerCharsMax = 4_096;

/** Throws what a function answered that failed, or that it did not answer. `invoke` ends when the function has ended. */
export async function createCustomResources(
  definitions: readonly CustomResourceDefinition[],
  stackName: string,
  invoke: (functionName: string, event: Buffer) => Promise<unknown>,
): Promise<void> {
  if (definitions.length === 0) return;
  const asked = new Set<string>();
  const answers = new Map<string, Answer>();
  const server = createServer(
    guarded((request, response) => {
      let text = "";
      request.setEncoding("utf8");
      request.on("data", (part: string) => {
        text += part.slice(0, answerCharsMax - text.length);
      });
      request.on("end", () => {
        const id = request.url!.slice(1);
        if (asked.has(id)) answers.set(id, parsed(text));
        response.end();
      });
    }),
  );
  const port = await listen(server, 0);
  try {
    for (const { logicalId, type, functionName, properties } of definitions) {
      const RequestId = randomUUID();
      asked.add(RequestId);
      const event = {
        RequestType: "Create",
        ResponseURL: `http://127.0.0.1:${port}/${RequestId}`,
        StackId: `arn:aws:cloudformation:us-east-1:000000000000:stack/${stackName}/local`,
        ...{ RequestId, ResourceType: type, LogicalResourceId: logicalId, ResourceProperties: properties },
      };
      await invoke(functionName, Buffer.from(JSON.stringify(event)));
      const answer = answers.get(RequestId);
      if (answer?.Status !== "SUCCESS")
        throw new Error(
          `${logicalId}: ${answer?.Reason ?? `${functionName} did not answer; its log says why`}`,
        );
    }
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

function parsed(text: string): Answer {
  try {
    return JSON.parse(text) as Answer;
  } catch {
    return { Status: "FAILED", Reason: "its answer is no JSON of at most 4,096 characters" };
  }
}
