import js from '@eslint/js';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  {
    ignores: [
      '**/*.cjs',
      'test/package/*/consumer/',
      'dist/',
      'coverage/',
      'site/.vitepress/dist/',
      'site/.vitepress/cache/',
      'docs/',
      'node_modules/',
      '**/output/',
      '**/.venv/',
      '*.config.js',
      '*.config.ts',
      // AssemblyScript
      'src/**/wasm/assembly/',
    ],
  },
  js.configs.recommended,
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: {parserOptions: {projectService: true, tsconfigRootDir: import.meta.dirname}},
    rules: {
      // prettier leaves comments and texts as long as they are; programs of graphics cards are templates.
      'max-len': ['error', {code: 120, ignoreTemplateLiterals: true, ignoreRegExpLiterals: true, ignoreUrls: true}],
      '@typescript-eslint/restrict-template-expressions': ['error', {allowNumber: true, allowBoolean: true}],
      // `verbose: 0` and the like are typed as enums by tfjs.
      '@typescript-eslint/no-unsafe-enum-assignment': 'off',
      // Views of tfjs's objects are asserted, not constructed.
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
      '@typescript-eslint/no-unused-vars': ['error', {ignoreRestSiblings: true}],
      // tfjs marks parts of its API deprecated that have no successor.
      '@typescript-eslint/no-deprecated': 'off',
      '@typescript-eslint/no-confusing-void-expression': ['error', {ignoreArrowShorthand: true}],
    },
  },
  // written by scripts
  {files: ['src/**/binary.ts', 'src/extensions/quickstart/data.ts'], rules: {'max-len': 'off'}},
  {
    files: ['test/**/*.ts', 'examples/**/*.ts', 'bench/**/*.ts', 'scripts/**/*.ts', 'site/**/*.ts'],
    rules: {
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
    },
  },
);
