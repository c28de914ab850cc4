/** Counters of requests and tokens (lib/embedding/limits.ts), in the store's one table: `limit#<name>`, an item a window. */
import { ConditionalCheckFailedException } from "@aws-sdk/client-dynamodb";
import { type DynamoDBDocumentClient, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import { table as keys, limitPrefix } from "../contract/names.ts";
import type { LimitAmounts, LimitTable, LimitWindow } from "../embedding/provider.ts";
import { failure } from "./failure.ts";

/** Old windows are of no use: DynamoDB removes them. */
const keptSeconds = 3_600;

export class DynamoDbLimitTable implements LimitTable {
  readonly #client: DynamoDBDocumentClient;
  readonly #table: string;

  constructor(client: DynamoDBDocumentClient, table: string) {
    this.#client = client;
    this.#table = table;
  }

  async take(window: LimitWindow, amounts: LimitAmounts, most: LimitAmounts): Promise<boolean> {
    try {
      await this.#client.send(
        new UpdateCommand({
          ...this.#itemOf(window),
          UpdateExpression: "ADD requests :requests, tokens :tokens SET #ttl = :expires",
          ConditionExpression:
            "(attribute_not_exists(requests) OR requests <= :requestsBelow) AND (attribute_not_exists(tokens) OR tokens <= :tokensBelow)",
          ExpressionAttributeNames: { "#ttl": keys.ttl },
          ExpressionAttributeValues: {
            ":requests": amounts.requests,
            ":tokens": amounts.tokens,
            ":requestsBelow": most.requests - amounts.requests,
            ":tokensBelow": most.tokens - amounts.tokens,
            ":expires": Math.ceil((window.startMs + window.lengthMs) / 1_000) + keptSeconds,
          },
        }),
      );
      return true;
    } catch (error) {
      if (error instanceof ConditionalCheckFailedException) return false;
      throw failure(error, {
        call: "DynamoDB UpdateItem",
        subject: `${this.#table}: the counters of embedding`,
        // What was counted and not told is a turn that is lost, and no more.
        writes: false,
        permission: "dynamodb:UpdateItem",
      });
    }
  }

  async correct(window: LimitWindow, tokens: number): Promise<void> {
    await this.#client.send(
      new UpdateCommand({
        ...this.#itemOf(window),
        UpdateExpression: "ADD tokens :tokens",
        ExpressionAttributeValues: { ":tokens": tokens },
      }),
    );
  }

  #itemOf({ name, startMs }: LimitWindow) {
    return {
      TableName: this.#table,
      Key: { [keys.partitionKey]: `${limitPrefix}${name}`, [keys.sortKey]: String(startMs) },
    };
  }
}
