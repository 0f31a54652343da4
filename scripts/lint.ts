// Checks types and lints, with one program of TypeScript for both. Each of them alone would check the types of all
// files.

import {ESLint} from 'eslint';
import {cwd, exit} from 'node:process';
import ts from 'typescript';

const host: ts.ParseConfigFileHost = {
  ...ts.sys,
  onUnRecoverableConfigFileDiagnostic: diagnostic => {
    throw new Error(ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n'));
  },
};
const {fileNames, options} = ts.getParsedCommandLineOfConfigFile('tsconfig.json', {}, host)!;
const program = ts.createProgram(fileNames, options);

const eslint = new ESLint({
  overrideConfig: {languageOptions: {parserOptions: {projectService: false, programs: [program]}}},
});
const results = await eslint.lintFiles(['.']);
const formatter = await eslint.loadFormatter();
console.log(await formatter.format(results));

const faults = ts.getPreEmitDiagnostics(program);
console.log(
  ts.formatDiagnostics(faults, {
    getCurrentDirectory: cwd,
    getCanonicalFileName: name => name,
    getNewLine: () => '\n',
  }),
);
exit(faults.length > 0 || results.some(({errorCount}) => errorCount > 0) ? 1 : 0);
