/** Apply a scene: what it says stands in for a model's defaults. */

/** @import {Model, Scene, Settings} from "./types.js" */

/**
 * @param {Scene[]} scenes
 * @param {Settings} settings
 * @returns {Scene | null} The scene that settings name, if it is live.
 */
export function sceneOf(scenes, settings) {
  return scenes.find((scene) => scene.name === settings.scene) ?? null;
}

/**
 * Name the model that a request gets: what the settings say wins over the scene.
 * @param {Settings} settings
 * @param {Scene | null} scene
 * @returns {string | null} `name@version`, a name alone for its current version, or null for the default model.
 */
export function modelName(settings, scene) {
  if (settings.model !== null || !scene?.model) return settings.model;
  return scene.version ? `${scene.model}@${scene.version}` : scene.model;
}

/**
 * Put the scene's defaults in the place of the model's.
 * @param {Model} model
 * @param {Scene | null} scene
 * @returns {Model}
 */
export function underScene(model, scene) {
  if (!scene) return model;
  return {
    ...model,
    objectives: { ...model.objectives, ...scene.objectives },
    diversity: { ...model.diversity, ...scene.diversity },
    queues: scene.queues ?? model.queues,
    partition: scene.partition ?? model.partition,
    list_length: scene.top_n ?? model.list_length,
  };
}
