/** The key in a model's metadata for its `preprocessor_config.json`. */
export const PREPROCESSOR = 'preprocessor';
