import {asLoRAError, ioError, listed, LoRAError, notFoundError} from '../../../platform/errors';
import {closestTo} from '../../../platform/closest';
import {throwIfAborted, unlessAborted} from '../../../platform/signals';
import {type HubAddress, isCommit, parseHubAddress} from './address';
import {cacheOf, type FileCache, idOf} from './cache';
import {openHubFile} from './download';
import {urlOfFile} from './fileBody';
import {type HubSettings, hubSettings} from './settings';
import {type Answer, sendToHub} from './request';

/** A commit, and the paths of its files, unless the hub does not list them. */
interface Revision {
  readonly commit: string;
  readonly files?: readonly string[];
}

/** The revisions of a load, so that all of its files are of one commit. */
export type Revisions = Map<string, Promise<Revision>>;

interface ReadOptions {
  readonly signal?: AbortSignal;
  readonly revisions?: Revisions;
}

/** A list of files has a few dozen bytes for each. */
const MAX_LIST_BYTES = 2 ** 24;

/**
 * The file of an `hf://` address as a response, from the cache or from the hub.
 *
 * @throws LoRAError if the address is not valid, names no file, or the file cannot be had.
 */
export async function hubResponse(address: string, {signal, revisions = new Map()}: ReadOptions): Promise<Response> {
  const settings = hubSettings();
  const parsed = parseHubAddress(address);
  const {repo, path} = parsed;
  const cache = cacheOf(settings);
  try {
    const {commit, files} = await revisionOf(parsed, {settings, cache, signal, revisions});
    if (path === '' || files?.includes(path) === false) {
      throw noFile(parsed, files);
    }
    const place = {endpoint: settings.endpoint, repo, commit, path, address: `hf://${repo}@${commit}/${path}`};
    return await openHubFile(
      {place, settings, refusal: answer => refusal(answer, parsed, settings, files)},
      cache,
      signal,
    );
  } catch (error) {
    throwIfAborted(signal);
    throw asLoRAError(error, `${address} cannot be fetched, and is not in the cache`, 'ERR_IO');
  }
}

/** The addresses of the files in a folder; `undefined` if the hub does not list them. */
export async function hubList(
  address: string,
  {signal, revisions = new Map()}: ReadOptions,
): Promise<string[] | undefined> {
  const settings = hubSettings();
  const {repo, revision, path} = parseHubAddress(address);
  const options = {settings, cache: cacheOf(settings), signal, revisions};
  const {files} = await revisionOf({repo, revision, path}, options).catch((error: unknown) => {
    throwIfAborted(signal);
    throw asLoRAError(error, `${address} cannot be fetched, and is not in the cache`, 'ERR_IO');
  });
  const folder = path === '' ? '' : `${path}/`;
  return files
    ?.filter(file => file.startsWith(folder) && !file.slice(folder.length).includes('/'))
    .map(file => `hf://${repo}@${revision}/${file}`);
}

interface Context {
  settings: HubSettings;
  cache: FileCache | undefined;
  signal: AbortSignal | undefined;
  revisions: Revisions;
}

function revisionOf(address: HubAddress, {revisions, ...context}: Context): Promise<Revision> {
  const key = `${address.repo}@${address.revision}`;
  const pending = revisions.get(key);
  const revision = pending ?? requestRevision(address, context);
  revisions.set(key, revision);
  return revision;
}

/** Asks the hub which commit a revision is. Without a network, it is the commit that it was last. */
async function requestRevision(
  address: HubAddress,
  {settings, cache, signal}: Omit<Context, 'revisions'>,
): Promise<Revision> {
  const {repo, revision} = address;
  const key = `${cache ? await idOf(settings.endpoint, repo, revision) : ''}.ref`;
  const noted = await cache?.note<Revision>(key);
  if (isCommit(revision) && noted !== undefined) {
    return noted;
  }
  try {
    const answer = await askForRevision(address, settings, signal);
    await cache?.keepNote(key, answer);
    return answer;
  } catch (error) {
    throwIfAborted(signal);
    const last = noted ?? (isCommit(revision) ? {commit: revision} : undefined);
    // What the hub refuses is refused, also if it was allowed before.
    if (last === undefined || error instanceof LoRAError) {
      throw error;
    }
    return last;
  }
}

async function askForRevision(
  address: HubAddress,
  settings: HubSettings,
  signal: AbortSignal | undefined,
): Promise<Revision> {
  const {repo, revision, path} = address;
  const {endpoint} = settings;
  const init = {...(signal && {signal})};
  const api = `${endpoint}/api/models/${repo}/revision/${encodeURIComponent(revision)}`;
  const listing = await sendToHub(api, settings, init);
  if (listing.response.ok) {
    const text = await textOf(listing.response, signal);
    const listed = parseRevision(text, revision);
    if (listed !== undefined) {
      return listed;
    }
  } else {
    void listing.response.body?.cancel().catch(() => undefined);
    const {status} = listing.response;
    if (listing.hubHeaders.has('x-error-code') || [401, 403].includes(status)) {
      throw refusal(listing, {...address, path: ''}, settings, undefined);
    }
  }
  // Mirrors may lack the list.
  const url = urlOfFile({endpoint, repo, path: path === '' ? 'config.json' : path}, revision);
  const head = await sendToHub(url, settings, {...init, method: 'HEAD'});
  const commit = head.hubHeaders.get('x-repo-commit') ?? head.response.headers.get('x-repo-commit');
  if (commit !== null && isCommit(commit)) {
    return {commit};
  }
  if (!head.response.ok) {
    throw refusal(head, address, settings, undefined);
  }
  if (isCommit(revision)) {
    return {commit: revision};
  }
  throw ioError(
    `${endpoint} does not say which commit "${revision}" of ${repo} is. Name a commit: hf://${repo}@<commit>.`,
  );
}

function parseRevision(text: string, revision: string): Revision | undefined {
  let json: {sha?: unknown; siblings?: unknown} | null;
  try {
    json = JSON.parse(text) as typeof json;
  } catch {
    return undefined;
  }
  const {sha, siblings} = json ?? {};
  const names = Array.isArray(siblings)
    ? siblings.map(sibling => (sibling as {rfilename?: unknown} | null)?.rfilename)
    : undefined;
  if (typeof sha !== 'string' || !isCommit(sha) || (isCommit(revision) && sha !== revision)) {
    return undefined;
  }
  const isList = names?.every(name => typeof name === 'string') === true;
  return {commit: sha, ...(isList && {files: names})};
}

async function textOf({body}: Response, signal: AbortSignal | undefined): Promise<string> {
  const reader = body?.getReader();
  const decoder = new TextDecoder();
  let text = '';
  for (;;) {
    const chunk = reader && (await unlessAborted(reader.read(), signal)).value;
    if (chunk === undefined) {
      return text;
    }
    text += decoder.decode(chunk, {stream: true});
    if (text.length > MAX_LIST_BYTES) {
      void reader?.cancel().catch(() => undefined);
      return '';
    }
  }
}

/** The error for what is not among the files of a repository. */
function noFile({repo, path}: HubAddress, files: readonly string[] | undefined): LoRAError {
  const closest = path === '' ? [] : closestTo(path, files ?? []);
  const shown = closest.length > 0 ? closest : (files ?? []);
  const names = listed(
    shown.map(file => `hf://${repo}/${file}`),
    10,
  );
  const advice = closest.length > 0 ? ` The closest names: ${names}.` : names === '' ? '' : ` It has ${names}.`;
  return path === ''
    ? notFoundError(`hf://${repo} names no file.${advice}`)
    : notFoundError(`hf://${repo} has no file "${path}".${advice}`);
}

/** The error for a response of the hub that is no success. */
function refusal(
  {response, hubHeaders}: Answer,
  address: HubAddress,
  settings: HubSettings,
  files: readonly string[] | undefined,
): Error {
  const {status, statusText} = response;
  const {repo, revision, path} = address;
  const {endpoint, token} = settings;
  const code = hubHeaders.get('x-error-code') ?? response.headers.get('x-error-code');
  const answer = `(${status}${code === null ? '' : `, ${code.slice(0, 100)}`})`;
  if ([401, 403].includes(status)) {
    const way =
      token === undefined
        ? `setHub({token: 'hf_…'}) with a token of ${endpoint}/settings/tokens`
        : 'a token that may read it: this one may not';
    return code === 'RepoNotFound'
      ? notFoundError(
          `There is no hf://${repo}, or it is private ${answer}. Check the name; a private one needs ${way}.`,
        )
      : ioError(
          `hf://${repo} is gated or private ${answer}. Accept its terms at ${endpoint}/${repo}, and pass ${way}.`,
        );
  }
  if (status === 404 || status === 410) {
    if (code === 'RepoNotFound') {
      return notFoundError(`There is no hf://${repo} ${answer}. Check the name; a private one needs a token.`);
    }
    if (code === 'RevisionNotFound') {
      return notFoundError(`hf://${repo} has no revision "${revision}" ${answer}.`);
    }
    return path === '' ? notFoundError(`There is no hf://${repo} ${answer}.`) : noFile(address, files);
  }
  const says = `the hub answers ${`${status} ${statusText}`.trim()}`;
  // What may work later is tried again, or taken from the cache.
  return status >= 500 || status === 429 ? new Error(says) : ioError(`hf://${repo}/${path}: ${says}.`);
}
