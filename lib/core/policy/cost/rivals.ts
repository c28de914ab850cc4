/** The same workload elsewhere. */
import { millions } from "./monthly-cost.ts";
import type { Workload } from "./workload.ts";

const gigabyte = 1e9;

export interface Rival {
  readonly name: string;
  readonly dollars: number;
  /** What the number rests on, and how sure it is. */
  readonly basis: string;
}

/** List prices of what people would pick instead. `approximate`: from memory, to be checked before it decides anything. */
export function rivalCosts({ vectors, dims, recordBytes, writes, queries }: Workload): Rival[] {
  const logicalGb = (vectors * (dims * 4 + recordBytes)) / gigabyte;
  const writtenGb = (writes * (dims * 4 + recordBytes)) / gigabyte;
  return [
    {
      name: "Amazon S3 Vectors",
      dollars: logicalGb * 0.06 + writtenGb * 0.2 + millions(queries) * 2.5,
      basis:
        "storage $0.06/GB-month, put $0.20/GB, $2.50/M queries (2026-11); the charge per TB searched is not in it",
    },
    {
      name: "turbopuffer",
      dollars: Math.max(16, logicalGb * 0.33 + writtenGb * 2 + millions(queries) * logicalGb * 1),
      basis:
        "minimum $16/month (2026-11); storage $0.33/GB, writes $2/GB, $1 per M queries and GB: approximate",
    },
    {
      name: "Pinecone serverless",
      dollars: Math.max(
        50,
        logicalGb * 0.33 +
          (writes * Math.ceil((dims * 4 + recordBytes) / 1024) * 4) / 1e6 +
          millions(queries) * Math.max(5, logicalGb) * 16,
      ),
      basis:
        "minimum $50/month, $0.33/GB, $4/M write units of 1 KB, $16/M read units of 1 GB, 5 at least: approximate",
    },
    {
      name: "OpenSearch Serverless",
      dollars: Math.max(1, Math.ceil((logicalGb * 1.5) / 4)) * 2 * 0.24 * 730 + logicalGb * 0.024,
      basis:
        "two half OCUs at least for indexing and two for search, $0.24 an OCU-hour, about 4 GB of graph an OCU: approximate",
    },
  ];
}
