/** docs/security.md says what each entry bounds: every number is the constant's, and no constant of the list is missing. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { tokensMax } from "../../lambdas/query/event.ts";
import { jsonEntriesMax, jsonKeysMax, jsonLevelsMax } from "../../lib/aws/json-text.ts";
import { bodyBytesMax, problemsShownMax } from "../../lib/aws/lambda-door.ts";
import { factsBytesMax } from "../../lib/aws/telemetry.ts";
import { answerBytesMax } from "../../lib/core/answer-size.ts";
import { bounds } from "../../lib/core/bounds.ts";
import { dimsMax, fieldsMax, shardsMax } from "../../lib/core/collection.ts";
import { deltaBytesMax, deltaRowsMax } from "../../lib/core/delta-header.ts";
import { callBytesMax } from "../../lib/core/delta-parts.ts";
import { errorTextBytesMax } from "../../lib/core/errors.ts";
import { filterDepthMax, filterListMax, filterNodesMax, filterValuesMax } from "../../lib/core/filter.ts";
import {
  microsecondsMax,
  microsecondsPerRowMax,
  microsecondsPerTableMax,
} from "../../lib/core/filter-cost.ts";
import { textBytesMax } from "../../lib/core/lexical-embedder.ts";
import { manifestBytesMax } from "../../lib/core/manifest.ts";
import * as metadata from "../../lib/core/metadata.ts";
import { notificationCharsMax } from "../../lib/core/notification.ts";
import { callRowsMax, documentBytesMax, idBytesMax } from "../../lib/core/records.ts";
import { sealedBytesMax } from "../../lib/core/sealed-json.ts";
import { namedDeltasMax } from "../../lib/core/token.ts";
import { refreshSecondsMax, topKMax } from "../../lib/engine/read-request.ts";
import { overlayBytesMax } from "../../lib/engine/shard-reader.ts";
import { idsMax } from "../../lib/engine/view.ts";
import { inputBytesMax } from "../../scripts/cli/put-parts.ts";
import { lineBytesMax } from "../../scripts/cli/record-lines.ts";

const { fieldListMax, fieldTextBytesMax, metadataBytesMax, metadataKeyBytesMax, metadataKeysMax } = metadata;
const { overlaidDeltas } = bounds;
const constants: Readonly<Record<string, number>> = {
  ...{
    bodyBytesMax,
    callBytesMax,
    jsonLevelsMax,
    jsonEntriesMax,
    jsonKeysMax,
    callRowsMax,
    idBytesMax,
    documentBytesMax,
  },
  ...{ metadataBytesMax, metadataKeysMax, metadataKeyBytesMax, fieldTextBytesMax, fieldListMax, fieldsMax },
  ...{ dimsMax, shardsMax, textBytesMax, topKMax, idsMax, refreshSecondsMax, tokensMax, namedDeltasMax },
  ...{ filterDepthMax, filterNodesMax, filterListMax, filterValuesMax },
  ...{ microsecondsMax, microsecondsPerRowMax, microsecondsPerTableMax, overlaidDeltas, overlayBytesMax },
  ...{ answerBytesMax, problemsShownMax, errorTextBytesMax, factsBytesMax, deltaBytesMax, deltaRowsMax },
  ...{ sealedBytesMax, manifestBytesMax, notificationCharsMax, inputBytesMax, lineBytesMax },
};

test("the table is that of the constants", () => {
  const text = readFileSync(join(import.meta.dirname, "../../docs/security.md"), "utf8");
  const rows = [...text.matchAll(/^\| [^|]+ \| ([\d,]+)( KiB| MiB)? \| `(\w+)` \|$/gm)];
  const factors: Readonly<Record<string, number>> = { "": 1, " KiB": 1024, " MiB": 1024 * 1024 };
  const said = rows.map(([, digits, unit, name]) => [
    name,
    Number(digits!.replaceAll(",", "")) * factors[unit ?? ""]!,
  ]);
  expect(Object.fromEntries(said)).toEqual(constants);
  expect(said).toHaveLength(Object.keys(constants).length);
});
