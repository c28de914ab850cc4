/** docs/security.md says what each entry bounds: every number is the constant's, and no constant of the list is missing. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { queryBytesMax, tokensMax } from "../../lambdas/query/event.ts";
import { jsonEntriesMax, jsonKeysMax, jsonLevelsMax } from "../../lib/aws/json-scan.ts";
import { bodyBytesMax } from "../../lib/aws/lambda-handler.ts";
import { factsBytesMax } from "../../lib/aws/telemetry.ts";
import { deltaBytesMax, deltaRowsMax } from "../../lib/core/format/delta-header.ts";
import { callBytesMax } from "../../lib/core/format/delta-parts.ts";
import { manifestBytesMax } from "../../lib/core/format/manifest.ts";
import { notificationCharsMax } from "../../lib/core/format/notification.ts";
import { sealedBytesMax, sealedLevelsMax, sealedPartsMax } from "../../lib/core/format/sealed-json.ts";
import { namedDeltasMax } from "../../lib/core/format/token.ts";
import { answerBytesMax } from "../../lib/core/model/answer-size.ts";
import { bounds } from "../../lib/core/model/bounds.ts";
import { callRowsMax, documentBytesMax, idBytesMax } from "../../lib/core/model/check-records.ts";
import { dimsMax, fieldsMax, shardsMax } from "../../lib/core/model/collection.ts";
import { errorTextBytesMax, problemsShownMax } from "../../lib/core/model/errors.ts";
import {
  filterDepthMax,
  filterListMax,
  filterNodesMax,
  filterValuesMax,
} from "../../lib/core/model/filter.ts";
import {
  microsecondsMax,
  microsecondsPerRowMax,
  microsecondsPerTableMax,
} from "../../lib/core/model/filter-cost.ts";
import * as metadata from "../../lib/core/model/metadata.ts";
import { textBytesMax } from "../../lib/embedding/lexical-embedder.ts";
import { overlayBytesMax } from "../../lib/engine/read/overlays.ts";
import { refreshSecondsMax, topKMax } from "../../lib/engine/read/read-request.ts";
import { idsMax } from "../../lib/engine/read/view.ts";
import { listedStrangersMax } from "../../lib/engine/shard/strangers.ts";
import { lineBytesMax } from "../../lib/import/record-lines.ts";
import { inputBytesMax } from "../../scripts/cli/put-parts.ts";

const { fieldListMax, fieldTextBytesMax, metadataBytesMax, metadataKeyBytesMax, metadataKeysMax } = metadata;
const { overlaidDeltas } = bounds;
const constants: Readonly<Record<string, number>> = {
  ...{
    bodyBytesMax,
    queryBytesMax,
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
  ...{
    microsecondsMax,
    microsecondsPerRowMax,
    microsecondsPerTableMax,
    overlaidDeltas,
    overlayBytesMax,
    listedStrangersMax,
  },
  ...{ answerBytesMax, problemsShownMax, errorTextBytesMax, factsBytesMax, deltaBytesMax, deltaRowsMax },
  ...{
    sealedBytesMax,
    sealedLevelsMax,
    sealedPartsMax,
    manifestBytesMax,
    notificationCharsMax,
    inputBytesMax,
    lineBytesMax,
  },
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
