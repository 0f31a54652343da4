import {existsSync, renameSync, rmSync} from 'node:fs';
import {mkdir, readdir} from 'node:fs/promises';
import {basename, join} from 'node:path';
import {setTimeout} from 'node:timers/promises';
import {busyError, ioError, messageOf, unsupportedError} from '../platform/errors';
import {jsonText} from '../platform/formats/explained';
import {PEFT_FILES, type PEFTFiles} from '../core/peft/peftFiles';
import {draftOf, findSpares, newTag, removeAll, tagOfDraft} from './drafts';
import {isFolder, read, readIfThere, writeThrough} from './files';
import {locked} from './lock';

// Two files under fixed names cannot be replaced in one step. So the config is removed first, and written last: at no
// instant does the folder contain two files that do not belong together, and a reader in between, such as PEFT, finds
// no config rather than a wrong one.
//
//     1. the drafts of weights and config are written, in this order
//     2. the earlier config is put aside
//     3. the weights take their name
//     4. the config takes its name
//
// A save that is killed can be told from what it left. Before step 3 its weights are still a draft, and the earlier
// config is put back; after it only the config is, which then takes its name. The next save or read does so. A lock
// keeps two saves from mixing their steps.

const ADVICE = `A PEFT adapter is ${PEFT_FILES.config} and ${PEFT_FILES.weights} in one folder.`;
/** A read that fails because of another process's save is tried again, after this many milliseconds. */
const [ATTEMPTS, PAUSE] = [200, 5];

/**
 * The files of a PEFT adapter in a folder as `save_pretrained` makes it. While another process saves there, the two are
 * of one save; what a killed save left half done is completed or undone.
 *
 * @throws LoRAError if one of them is missing.
 */
export async function readPEFTFolder(folder: string): Promise<PEFTFiles & {config: string}> {
  const target = filesIn(folder);
  await refusePickle(folder);
  // Between saves a moment may have none under way. The config is missing for as long as this.
  let missing = 0;
  for (let attempt = 0; attempt < ATTEMPTS && missing < 5; attempt++) {
    const config = await readIfThere(target.config, ADVICE);
    missing = config !== undefined || (await isSaving(folder)) ? 0 : missing + 1;
    const weights = config && (await read(target.weights, ADVICE));
    // The weights belong to this config if it is still there: a save takes it away first.
    if (
      config !== undefined &&
      weights !== undefined &&
      (await readIfThere(target.config, ADVICE))?.equals(config) === true
    ) {
      return {config: await jsonText(config, PEFT_FILES.config), weights};
    }
    await finishKilledSaves(folder).catch(() => undefined); // a folder that cannot be written to cannot be repaired
    await setTimeout(PAUSE);
  }
  await read(target.config, ADVICE);
  throw busyError(`Another process saves to ${folder} continuously. Read it when that has ended.`);
}

/** @throws LoRAError if a folder has weights as earlier versions of PEFT saved them, and no others. */
async function refusePickle(folder: string): Promise<void> {
  const names = await readdir(folder).catch((): string[] => []);
  if (names.includes('adapter_model.bin') && !names.includes(PEFT_FILES.weights)) {
    throw unsupportedError(
      `${join(folder, 'adapter_model.bin')} is a pickle of PyTorch, which can run code when it is read. Convert it ` +
        'in Python: load the adapter with PeftModel.from_pretrained, and save it with ' +
        `model.save_pretrained(folder, safe_serialization=True), which writes ${PEFT_FILES.weights}.`,
    );
  }
}

/**
 * Writes what `exportPEFT` returned as a folder that `PeftModel.from_pretrained` loads, which is made as needed. Both
 * files are replaced or none, also when the process is killed or another one saves there too.
 *
 * @throws LoRAError of code `ERR_IO` if they cannot be written; then earlier files are as they were.
 */
export async function writePEFTFolder(files: PEFTFiles & {readme?: string}, folder: string): Promise<void> {
  const {config, weights, readme} = files;
  const text = typeof config === 'string' ? config : JSON.stringify(config, null, 2);
  const target = filesIn(folder);
  const tag = newTag();
  const draft = draftsIn(folder, tag);
  try {
    for (const file of [target.config, target.weights]) {
      if (await isFolder(file)) {
        throw new Error(`${file} is a folder`);
      }
    }
    await mkdir(folder, {recursive: true});
    await finishKilledSaves(folder);
    await writeThrough(draft.weights, weights);
    await writeThrough(draft.config, text);
    await locked(target.config, () => {
      try {
        if (existsSync(target.config)) {
          renameSync(target.config, draft.earlier);
        }
        renameSync(draft.weights, target.weights);
        renameSync(draft.config, target.config);
      } finally {
        finish(folder, tag);
      }
    });
    if (readme !== undefined) {
      await writeThrough(join(folder, 'README.md'), readme);
    }
  } catch (error) {
    removeDrafts(folder, tag);
    throw ioError(`Cannot save ${target.weights}, ${target.config}: ${messageOf(error)}`, {cause: error});
  }
}

function filesIn(folder: string): {config: string; weights: string} {
  return {config: join(folder, PEFT_FILES.config), weights: join(folder, PEFT_FILES.weights)};
}

function draftsIn(folder: string, tag: string): {config: string; weights: string; earlier: string} {
  const {config, weights} = filesIn(folder);
  return {config: draftOf(config, tag), weights: draftOf(weights, tag), earlier: `${draftOf(config, tag)}.earlier`};
}

/** Whether a save has begun and not ended, or was killed. */
async function isSaving(folder: string): Promise<boolean> {
  const {config, weights} = filesIn(folder);
  const names = await readdir(folder).catch(() => []);
  return names.some(name => [config, weights].some(file => tagOfDraft(file, name) !== undefined));
}

/** Brings to an end what killed saves began. */
async function finishKilledSaves(folder: string): Promise<void> {
  const {config, weights} = filesIn(folder);
  const spares = [...(await findSpares(config)), ...(await findSpares(weights))];
  if (spares.length > 0) {
    const tags = new Set(spares.flatMap(file => [config, weights].map(target => tagOfDraft(target, basename(file)))));
    await locked(config, () => tags.forEach(tag => tag !== undefined && finish(folder, tag)));
    await removeAll(spares);
  }
}

/** Completes a save whose weights have their name already, and else undoes it. The lock must be held. */
function finish(folder: string, tag: string): void {
  const target = filesIn(folder);
  const draft = draftsIn(folder, tag);
  if (!existsSync(target.config)) {
    if (isCommitted(folder, tag)) {
      renameSync(draft.config, target.config);
    } else if (existsSync(draft.earlier)) {
      renameSync(draft.earlier, target.config);
    }
  }
  removeDrafts(folder, tag);
}

/** Whether the weights of a save have their name and its config has not: of two drafts theirs is written first. */
function isCommitted(folder: string, tag: string): boolean {
  const draft = draftsIn(folder, tag);
  return existsSync(draft.config) && !existsSync(draft.weights);
}

/** Removes the drafts of a save, unless the next one needs them to complete or to undo it. */
function removeDrafts(folder: string, tag: string): void {
  const draft = draftsIn(folder, tag);
  if (existsSync(filesIn(folder).config) || !(isCommitted(folder, tag) || existsSync(draft.earlier))) {
    // The config first: left alone it would look like that of a save whose weights have their name.
    [draft.config, draft.weights, draft.earlier].forEach(file => rmSync(file, {force: true}));
  }
}
