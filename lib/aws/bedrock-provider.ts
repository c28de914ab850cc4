/** Embeddings by Amazon Bedrock, with the function's own role. */
import { BedrockRuntimeClient, InvokeModelCommand } from "@aws-sdk/client-bedrock-runtime";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import { bedrockAnswer, bedrockBody, bedrockInputsMax } from "../embedding/bedrock-bodies.ts";
import { type Provider, ProviderRefusal, type RefusalKind } from "../embedding/provider.ts";
import { socketsMax } from "./request-handler.ts";

/** Largest size of all inputs of a request together, in bytes of UTF-8. */
const bytesMax = 2 ** 20;

export function bedrockProvider(model: string): Provider {
  const client = new BedrockRuntimeClient({
    // Repeating is the caller's, which knows the stage's limits.
    maxAttempts: 1,
    // The client's own handler speaks HTTP/2 and waits for ever.
    requestHandler: new NodeHttpHandler({
      connectionTimeout: 3_000,
      httpsAgent: { keepAlive: true, maxSockets: socketsMax },
      httpAgent: { keepAlive: true, maxSockets: socketsMax },
    }),
  });
  return {
    inputsMax: bedrockInputsMax(model),
    bytesMax,
    async request(request) {
      const command = new InvokeModelCommand({
        modelId: model,
        contentType: "application/json",
        accept: "application/json",
        body: JSON.stringify(bedrockBody(request)),
      });
      let counted: number | null = null;
      command.middlewareStack.add(
        (next) => async (args) => {
          const result = await next(args);
          const headers = (result.response as { headers?: Record<string, string> }).headers ?? {};
          const tokens = Number(headers["x-amzn-bedrock-input-token-count"]);
          counted = Number.isFinite(tokens) ? tokens : null;
          return result;
        },
        { step: "deserialize", priority: "low" },
      );
      let text: string;
      try {
        const answer = await client.send(command, { abortSignal: AbortSignal.timeout(request.waitMs) });
        text = Buffer.from(answer.body).toString("utf8");
      } catch (error) {
        throw refusalOf(error as Error & { $metadata?: { httpStatusCode?: number } });
      }
      return bedrockAnswer(model, parsed(text), counted);
    },
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new ProviderRefusal("outage", "its answer is not JSON, or was cut off");
  }
}

function refusalOf(error: Error & { $metadata?: { httpStatusCode?: number } }): ProviderRefusal {
  const { name, message } = error;
  return new ProviderRefusal(
    kindOf(name, error.$metadata?.httpStatusCode),
    `${name}: ${message}`.slice(0, 400),
  );
}

function kindOf(name: string, status: number | undefined): RefusalKind {
  switch (name) {
    case "ThrottlingException":
    case "ServiceQuotaExceededException":
      return "throttled";
    case "ValidationException":
      return "input";
    case "AccessDeniedException":
    case "ResourceNotFoundException":
    case "UnrecognizedClientException":
    case "ExpiredTokenException":
      return "denied";
    case "ModelTimeoutException":
    case "ModelErrorException":
      return "outage";
    default:
      if (status === 429) return "throttled";
      if (status === 413) return "tooMuch";
      return status !== undefined && status >= 400 && status < 500 ? "denied" : "outage";
  }
}
