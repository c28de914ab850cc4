/** Providers and their limits as the functions see them: HTTP, Bedrock, Secrets Manager, and the store's table. */
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import { requestBounds } from "../core/policy/time-bounds.ts";
import { httpProvider } from "../embedding/http-provider.ts";
import type { EmbeddingWorld } from "../embedding/profile-embedders.ts";
import type { Providers } from "../embedding/provider-access.ts";
import { type AwsAccess, accessTo, ownAccess } from "./access.ts";
import { DynamoDbLimitTable } from "./dynamodb-limit-table.ts";
import { httpPost } from "./http-post.ts";
import { patience, socketsMax } from "./request-handler.ts";
import { systemClock } from "./system-clock.ts";

/** The SDK's clients of Bedrock and Secrets Manager are loaded where they are needed: they cost a cold start. */
export function embeddingWorld(
  providers: Providers,
  table: string,
  access: AwsAccess = ownAccess,
): EmbeddingWorld {
  const dynamodb = new DynamoDBClient({
    ...patience(requestBounds.query, socketsMax),
    ...accessTo("dynamodb", access),
  });
  return {
    providers,
    limits: new DynamoDbLimitTable(DynamoDBDocumentClient.from(dynamodb), table),
    clock: { ...systemClock(), random: Math.random },
    async connect(name, { endpoint, secretArn }, model) {
      if (name === "bedrock") return (await import("./bedrock-provider.ts")).bedrockProvider(model);
      const key =
        secretArn === null ? async () => null : (await import("./secrets.ts")).secretReader(secretArn);
      return httpProvider(name, { endpoint: endpoint!, post: httpPost, key });
    },
  };
}
