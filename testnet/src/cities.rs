//! Cities with their places on the globe, and how long a message takes from one to another.
//!
//! The cluster asks for the latency of each pair and writes it into the nodes' configuration; nothing here knows nodes.

/// A city that an organization of a testnet can live in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct City {
    /// Its name in English, as `--cities` takes it.
    pub name: &'static str,
    /// Degrees north of the equator.
    pub latitude: f64,
    /// Degrees east of Greenwich.
    pub longitude: f64,
}

const fn city(name: &'static str, latitude: f64, longitude: f64) -> City {
    City { name, latitude, longitude }
}

/// Every city that is known here: ports and trading places on all continents.
pub const CITIES: &[City] = &[
    city("Antwerp", 51.22, 4.40),
    city("Barcelona", 41.39, 2.17),
    city("Bergen", 60.39, 5.32),
    city("Bruges", 51.21, 3.22),
    city("Busan", 35.18, 129.08),
    city("Cape Town", -33.92, 18.42),
    city("Chicago", 41.88, -87.63),
    city("Dubai", 25.20, 55.27),
    city("Gdansk", 54.35, 18.65),
    city("Genoa", 44.41, 8.93),
    city("Hamburg", 53.55, 9.99),
    city("Hong Kong", 22.32, 114.17),
    city("London", 51.51, -0.13),
    city("Los Angeles", 34.05, -118.24),
    city("Lübeck", 53.87, 10.69),
    city("Mombasa", -4.04, 39.67),
    city("Mumbai", 19.08, 72.88),
    city("New York", 40.71, -74.01),
    city("Riga", 56.95, 24.11),
    city("Rotterdam", 51.92, 4.48),
    city("Santos", -23.96, -46.33),
    city("Shanghai", 31.23, 121.47),
    city("Singapore", 1.35, 103.82),
    city("Sydney", -33.87, 151.21),
    city("Tallinn", 59.44, 24.75),
    city("Tokyo", 35.68, 139.69),
    city("Vancouver", 49.28, -123.12),
    city("Visby", 57.64, 18.30),
];

/// Mean radius of the Earth.
const EARTH_RADIUS_KM: f64 = 6_371.0;
/// How far light gets in a glass fibre: about 5 µs a kilometre (ITU-T G.114, table of planning values).
const FIBRE_KM_PER_MS: f64 = 200.0;
/// How much longer a cable is than the great circle: ITU-T G.826 plans with 1.25 for long and 1.5 for short distances.
const CABLE_DETOUR: f64 = 1.4;
/// What routers and the last mile add.
const EQUIPMENT_MS: f64 = 1.0;
/// No pair of cities is further apart than this; the antipodes are at 142 ms.
pub const ONE_WAY_MS_MAX: u64 = 150;

impl City {
    /// The city of this name, in any case of letters.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        let name = name.trim().to_lowercase();
        CITIES.iter().find(|city| city.name.to_lowercase() == name)
    }

    /// The great-circle distance to another city, by the haversine formula.
    #[must_use]
    pub fn distance_km(&self, other: &Self) -> f64 {
        let (here, there) = (self.latitude.to_radians(), other.latitude.to_radians());
        let half_north = ((there - here) / 2.0).sin();
        let half_east = ((other.longitude - self.longitude).to_radians() / 2.0).sin();
        let haversine = half_north * half_north + here.cos() * there.cos() * half_east * half_east;
        2.0 * EARTH_RADIUS_KM * haversine.sqrt().min(1.0).asin()
    }

    /// How long a message takes to another city: distance / 200 km per ms × 1.4 + 1 ms, in whole milliseconds. Within
    /// one city it is the 1 ms.
    #[must_use]
    pub fn one_way_ms(&self, other: &Self) -> u64 {
        let milliseconds = self.distance_km(other) / FIBRE_KM_PER_MS * CABLE_DETOUR + EQUIPMENT_MS;
        // The distance is at most half the Earth's girth, so the number is small and positive.
        (milliseconds.round() as u64).min(ONE_WAY_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> &'static City {
        City::named(name).unwrap()
    }

    #[test]
    fn distances_are_those_of_an_atlas() {
        for (from, to, kilometres) in
            [("Rotterdam", "Hamburg", 412.0), ("London", "New York", 5_570.0), ("Rotterdam", "Singapore", 10_500.0)]
        {
            let distance = named(from).distance_km(named(to));
            assert!((distance - kilometres).abs() < kilometres * 0.02, "{from} to {to}: {distance} km");
        }
    }

    #[test]
    fn latency_is_the_same_both_ways_and_grows_with_the_distance() {
        let (rotterdam, hamburg, singapore) = (named("rotterdam"), named(" Hamburg "), named("SINGAPORE"));
        assert_eq!(rotterdam.one_way_ms(hamburg), hamburg.one_way_ms(rotterdam));
        assert_eq!(rotterdam.one_way_ms(rotterdam), 1);
        assert_eq!(rotterdam.one_way_ms(hamburg), 4);
        assert!((72..=78).contains(&rotterdam.one_way_ms(singapore)));
        for (one, other) in CITIES.iter().flat_map(|one| CITIES.iter().map(move |other| (one, other))) {
            assert!((1..=ONE_WAY_MS_MAX).contains(&one.one_way_ms(other)), "{} to {}", one.name, other.name);
        }
    }

    #[test]
    fn every_city_has_one_name_and_lies_on_the_globe() {
        for (place, city) in CITIES.iter().enumerate() {
            assert!(City::named(city.name) == Some(city) && (-90.0..=90.0).contains(&city.latitude));
            assert!((-180.0..=180.0).contains(&city.longitude));
            assert!(place == 0 || CITIES[place - 1].name < city.name, "{} is out of order", city.name);
        }
    }
}
