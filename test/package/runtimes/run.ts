// Trains, saves and merges with the packed library in several runtimes: `npm run check -- runtimes`. Other versions of
// Node, Bun and Deno come as packages of npm, into a folder for temporary files. A page does the same in Firefox, where
// there is one.

import {spawn, spawnSync} from 'node:child_process';
import {cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:http';
import {tmpdir} from 'node:os';
import {basename, dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {build} from 'vite';
import {contentType, listen} from '../../chromium';
import {makeProject} from '../project';

const HERE = dirname(fileURLToPath(import.meta.url));
const CACHE = join(tmpdir(), 'tfjs-lora-runtimes');
const PATIENCE = 120_000;
const FIREFOX = [process.env.FIREFOX ?? '', '/usr/bin/firefox-esr', '/usr/bin/firefox'].find(
  path => path !== '' && existsSync(path),
);

/** Something that runs programs, as a package of npm has it for this machine. */
interface Runtime {
  name: string;
  version: string;
  package: string;
  file: string;
  args: readonly string[];
}

const MACHINE = `${process.platform}-${process.arch}`;

const RUNTIMES: readonly Runtime[] = [
  ...['22.23.3', '24.21.0', '26.12.1'].map(version => {
    return {name: 'Node', version, package: `node-${MACHINE}`, file: 'bin/node', args: []};
  }),
  {name: 'Bun', version: '1.4.5', package: `@oven/bun-${MACHINE}`, file: 'bin/bun', args: []},
  {
    name: 'Deno',
    version: '2.9.6',
    package: `@deno/${MACHINE}${process.platform === 'linux' ? '-glibc' : ''}`,
    file: 'deno',
    args: ['run', '--allow-read', '--allow-write', '--allow-env', '--allow-sys', '--no-lock'],
  },
];

/** The binary of a package, installed if it is not there. No script of a package is run. */
function install({package: name, version, file}: Runtime): string {
  const folder = join(CACHE, `${name.replaceAll('/', '-')}-${version}`);
  const path = join(folder, 'node_modules', name, file);
  if (!existsSync(path)) {
    console.log(`Installing ${name}@${version} …`);
    mkdirSync(folder, {recursive: true});
    writeFileSync(join(folder, 'package.json'), '{"private": true}');
    const args = ['install', '--no-audit', '--no-fund', '--ignore-scripts', `${name}@${version}`];
    const {status, stderr} = spawnSync('npm', args, {cwd: folder, encoding: 'utf8'});
    if (status !== 0) {
      throw new Error(`${name} could not be installed: ${stderr}`);
    }
  }
  return path;
}

/** What a page of the project reports in Firefox. */
async function inFirefox(firefox: string, project: string): Promise<string> {
  writeFileSync(join(project, 'index.html'), '<!doctype html><script type="module" src="/page.mjs"></script>');
  await build({root: project, configFile: false, logLevel: 'error', build: {chunkSizeWarningLimit: 5000}});
  const wasm = join(project, 'node_modules/@tensorflow/tfjs-backend-wasm/dist');
  let report: (text: string) => void = () => undefined;
  const reported = new Promise<string>(resolve => (report = resolve));
  const server = createServer((request, response) => {
    const {url = '/'} = request;
    if (request.method === 'POST') {
      let body = '';
      request.on('data', chunk => (body += String(chunk)));
      request.on('end', () => {
        report(body);
      });
      response.end();
      return;
    }
    const folder = url.startsWith('/wasm/') ? wasm : join(project, url === '/' ? 'dist' : 'dist/assets');
    const file = join(folder, url === '/' ? 'index.html' : basename(url));
    response.writeHead(existsSync(file) ? 200 : 404, {'content-type': contentType(file)});
    response.end(existsSync(file) ? readFileSync(file) : undefined);
  });
  const profile = mkdtempSync(join(tmpdir(), 'tfjs-lora-firefox-'));
  const url = await listen(server);
  const browser = spawn(firefox, ['--headless', '--no-remote', '--profile', profile, url], {stdio: 'ignore'});
  const ended = new Promise<string>((resolve, reject) => {
    browser.on('error', reject);
    browser.on('close', code => {
      resolve(`it ended with ${code}`);
    });
  });
  const timeout = AbortSignal.timeout(PATIENCE);
  const late = new Promise<string>(resolve => {
    timeout.addEventListener('abort', () => {
      resolve(`nothing in ${PATIENCE / 1000} s`);
    });
  });
  try {
    return await Promise.race([reported, ended, late]);
  } finally {
    browser.kill();
    await ended;
    server.close();
    server.closeAllConnections();
    rmSync(profile, {recursive: true, force: true});
  }
}

const project = makeProject(['@tensorflow']);
cpSync(join(HERE, 'consumer'), project, {recursive: true});
const results: Record<string, string> = {};
try {
  const own = {name: `Node ${process.versions.node}`, path: process.execPath, args: [] as readonly string[]};
  const others = RUNTIMES.map(runtime => {
    return {name: `${runtime.name} ${runtime.version}`, path: install(runtime), args: runtime.args};
  });
  for (const {name, path, args} of [own, ...others]) {
    const env = {...process.env, DENO_DIR: join(CACHE, 'deno'), DENO_NO_UPDATE_CHECK: '1', NODE_OPTIONS: ''};
    const options = {cwd: project, env, encoding: 'utf8', timeout: PATIENCE} as const;
    const outputs = ['program.mjs', 'threads.mjs'].map(program => {
      const {stdout, stderr} = spawnSync(path, [...args, program], options);
      return /^RESULT (.*)$/m.exec(stdout)?.[1] ?? `no result of ${program}:\n${stdout}${stderr}`;
    });
    results[name] = outputs.join(', ');
  }
  if (FIREFOX !== undefined) {
    const version = spawnSync(FIREFOX, ['--version'], {encoding: 'utf8'}).stdout.trim();
    results[version] = await inFirefox(FIREFOX, project);
  }
} finally {
  rmSync(project, {recursive: true, force: true});
}
Object.entries(results).forEach(([name, result]) => {
  console.log(`${name}: ${result}`);
});
if (FIREFOX === undefined) {
  console.log('Firefox: not here (apt-get install firefox-esr, or FIREFOX=path).');
}
process.exitCode = Object.values(results).every(result => /^trained(, equal with threads)?$/.test(result)) ? 0 : 1;
